"""What stands behind the balancers: nginx with many workers, which answers with bodies of several sizes."""

import os
import socket

from processes import Failed, find, free_port, run, start, wait_until

# Name under /services, bytes of the body.
BODIES = {"Version": 2, "Echo": 131, "Page": 10_000, "Report": 1_000_000, "Archive": 100_000_000, "Slow": 100_000}

CONF = """daemon off;
worker_processes {workers};
pid {dir}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile {files};
events {{ worker_connections 16000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nodelay on;
    open_file_cache max=100 inactive=1h;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
{listen}
        root {dir}/files;
        # Keeps the connections of clients busy.
        location = /services/Slow {{ limit_rate 500; }}
        location /services/ {{ }}
    }}
}}
"""


def member_addresses(members):
    """Addresses of so many members, all on loopback: 127.0.0.1 to 127.0.0.250, then 127.0.1.1 and so on."""
    return [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(members)]


class Backend:
    """The nodes, as one nginx that listens at the address of each member."""

    def __init__(self, folder, members, cpus, files):
        nginx = find("nginx")
        if not nginx:
            raise Failed("nginx is not installed: run  tools/setup bench")
        self.folder = folder
        os.makedirs(f"{folder}/files/services", exist_ok=True)
        # Workers of nginx that root started are nobody's.
        for path in (folder, f"{folder}/files", f"{folder}/files/services"):
            os.chmod(path, 0o755)
        for name, size in BODIES.items():
            with open(f"{folder}/files/services/{name}", "wb") as body:
                body.write(b"x" * size)
        addresses = member_addresses(members)
        self.port = free_port(addresses)
        listen = "\n".join(f"        listen {address}:{self.port} backlog=4096;" for address in addresses)
        with open(f"{folder}/nginx.conf", "w") as conf:
            conf.write(CONF.format(workers=max(2, len(cpus or ())), dir=folder, files=files, listen=listen))
        self.child = start([nginx, "-c", f"{folder}/nginx.conf", "-e", "stderr"], f"{folder}/log", cpus)
        wait_until(lambda: answers(self.port), 20, "the back end", self.child)


def answers(port):
    """Whether something accepts connections at a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_certificate(folder):
    """A self-signed certificate with a P-256 key, as (certificate, key, both in one file)."""
    openssl = find("openssl")
    if not openssl:
        raise Failed("openssl is not installed: run  tools/setup bench")
    certificate, key, both = f"{folder}/edge.crt", f"{folder}/edge.key", f"{folder}/edge.pem"
    status, _, errors = run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", "/CN=esb.example.com", "-addext", "subjectAltName=DNS:esb.example.com", "-keyout", key, "-out", certificate],
        30)
    if status:
        raise Failed(f"openssl: {errors.strip()[-200:]}")
    with open(both, "w") as out:
        for path in (certificate, key):
            with open(path) as part:
                out.write(part.read())
    return certificate, key, both
