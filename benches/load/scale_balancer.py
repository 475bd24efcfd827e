"""carbon-elb and its nodes for benches/load/scale: configurations of any size, started, asked, and ended."""

import os
import re
import socket
import time
from dataclasses import dataclass

from peers import BY_NAME, HERE, Running, render
from processes import Failed, find, free_port, start, wait_until
from scenarios import Scenario

# What every node answers with.
BODY = b"x" * 131
# Seconds that anything may take.
PATIENCE = 180

NGINX = """daemon off;
worker_processes 2;
pid {dir}/nginx.pid;
error_log stderr error;
worker_rlimit_nofile {files};
events {{ worker_connections 16000; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    default_type text/plain;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 0.0.0.0:{port} backlog=4096;
        location / {{ return 200 "{body}"; }}
    }}
}}
"""


class Nodes:
    """All nodes: one nginx that listens at every address of this machine, so that each of 127.0.0.0/8 is a node."""

    def __init__(self, folder, files, cpus=None):
        nginx = find("nginx")
        if not nginx:
            raise Failed("nginx is not installed: run  tools/setup bench")
        os.makedirs(folder, exist_ok=True)
        # Workers of nginx that root started are nobody's.
        os.chmod(folder, 0o755)
        self.port = free_port(("0.0.0.0",))
        with open(f"{folder}/nginx.conf", "w") as conf:
            conf.write(NGINX.format(dir=folder, files=files, port=self.port, body=BODY.decode()))
        self.child = start([nginx, "-c", f"{folder}/nginx.conf", "-e", "stderr"], f"{folder}/log", cpus)
        wait_until(self.answers, 20, "the nodes", self.child)

    def answers(self):
        """Whether they accept connections."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass(frozen=True)
class Size:
    """A configuration: which of conf/carbon-elb-*.yaml, and how much of everything it has."""

    conf: str = "bare"
    members: int = 4
    hosts: int = 1
    # So many services, and as many paths of other applications.
    paths: int = 1
    # Tenants that are counted one by one; 0: none is.
    tenants: int = 0
    # Tenants that have a node of their own each; 0: no tenant has.
    partitions: int = 0
    threads: int = 1
    weight: int = 1

    def configuration(self, node_port, access_log):
        """The configuration as YAML; ports of listeners are the system's choice."""
        with open(f"{HERE}/conf/carbon-elb-{self.conf}.yaml") as file:
            text = file.read()
        text = replaced(text, r"services: \[.*\]", f"services: [{', '.join(['Version', *self.services()])}]")
        if self.paths > 1:
            paths = ", ".join(self.applications())
            text = replaced(text, r"(?m)^    endpoints:", f"    paths: {{ service: [{paths}] }}\n    endpoints:")
        text = replaced(text, r"(?m)^    nodes:", self.tenancy() + "    nodes:")
        text = replaced(text, r"threads: 1", f"threads: {self.threads}")
        text = replaced(text, r"idle: 15s", "idle: 1h")
        text = replaced(text, r"id: wk-1,", f"id: wk-1, weight: {self.weight},")
        for number in range(max(self.members, 1) + 1, 5):
            text = replaced(text, rf"(?m)^ *- \{{ id: wk-{number},.*\n", "")
        values = {"BENCH_PORT": 0, "BENCH_ADMIN_PORT": 0, "BENCH_NODE_PORT": node_port, "BENCH_ACCESS_LOG": access_log,
                  "BENCH_KEEPALIVE": max(256, 2 * self.members), "BENCH_IDLE": "1h", "BENCH_CERTIFICATE": "", "BENCH_KEY": ""}
        return render(text, values, Scenario("scale", "", self.conf, members=self.members, hosts=self.hosts))

    def services(self):
        """Names of services."""
        return ["Echo", *(f"Orders{number}" for number in range(1, self.paths))]

    def applications(self):
        """Paths beside /services."""
        return [f"/shop-{number}/orders" for number in range(1, self.paths)]

    def tenancy(self):
        """The section `tenants`."""
        if self.partitions:
            entries = (f"{{ name: p{number}, tenants: [t{number}.example.com], nodes: [wk-{number}] }}"
                       for number in range(1, self.partitions + 1))
            return "    tenants:\n      partitions:\n" + "".join(f"        - {entry}\n" for entry in entries)
        return "    tenants: { max_in_flight: 100 }\n" if self.tenants else ""

    def targets(self):
        """Everything that clients ask for in turn, as (host, path)."""
        tenants = max(self.tenants, self.partitions)
        if tenants:
            return [("esb.example.com", f"/t/t{number}.example.com/services/Echo") for number in range(1, tenants + 1)]
        if self.paths > 1:
            services = [("esb.example.com", f"/services/{name}") for name in self.services()]
            return services + [("esb.example.com", f"{path}/7") for path in self.applications()]
        return [(host, "/services/Echo") for host in Scenario("scale", "", hosts=self.hosts).host_names()]


def replaced(text, pattern, new):
    """The text with one thing in place of another; fails if it is not there, once."""
    text, count = re.subn(pattern, lambda _: new, text)
    if count != 1:
        raise Failed(f"the configuration has {pattern!r} {count} times")
    return text


class Balancer(Running):
    """carbon-elb that runs and has answered. What is measured with it is as with any other balancer of the load test."""

    def __init__(self, binary, size, nodes, folder, prefix=(), cpus=None, level="info"):
        """`prefix` is a program that runs it, such as valgrind."""
        self.peer, self.size, self.folder, self.nodes = BY_NAME["carbon-elb"], size, folder, nodes
        self.scenario = Scenario("scale", "", size.conf, members=size.members, hosts=size.hosts)
        self.traced = False
        os.makedirs(folder, exist_ok=True)
        self.file, self.log = f"{folder}/elb.yaml", f"{folder}/errors"
        self.configure(size)
        open(self.log, "w").close()
        self.began = time.monotonic()
        self.child = start([*prefix, binary, "run", "--config", self.file], self.log, cpus, env={"RUST_LOG": level})
        self.pid = self.child.pid
        try:
            self.port = int(self.said(r"listening: web \S+:(\d+)\n")[1])
            with Client(self.port) as client:
                client.ask(*size.targets()[0])
        except (Failed, OSError) as problem:
            self.end()
            raise Failed(f"{problem}; {self.last_words()}") from None
        # Until a client had its first answer.
        self.took = time.monotonic() - self.began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(60)

    def configure(self, size):
        """Writes its configuration file."""
        with open(self.file, "w") as out:
            out.write(size.configuration(self.nodes.port, f"{self.folder}/access.log"))

    def said(self, pattern, behind=0):
        """Waits until the log, behind so many characters, has what is looked for; looks a thousand times a second."""
        until = time.monotonic() + PATIENCE
        while True:
            with open(self.log, errors="replace") as log:
                log.seek(behind)
                found = re.search(pattern, log.read())
            if found:
                return found
            if self.child.poll() is not None:
                raise Failed(f"carbon-elb has ended with status {self.child.returncode}")
            if time.monotonic() > until:
                raise Failed(f"carbon-elb: {pattern!r} is not in the log after {PATIENCE} s")
            time.sleep(0.001)

    def threads(self, name="edge-"):
        """Ids of its threads whose names begin so, in the order in which they were started."""
        found = []
        for task in sorted(os.listdir(f"/proc/{self.pid}/task"), key=int):
            with open(f"/proc/{self.pid}/task/{task}/comm") as comm:
                if comm.read().startswith(name):
                    found.append(int(task))
        return found

    def files(self):
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Client:
    """One connection of a client, kept open."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def send(self, host="esb.example.com", path="/services/Echo"):
        """Sends a request."""
        self.stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: scale\r\nAccept: */*\r\n\r\n".encode())

    def receive(self):
        """Waits for the whole answer, which must be a good one."""
        answer = b""
        while not answer.endswith(BODY):
            piece = self.stream.recv(65536)
            if not piece or len(answer) > 65536:
                raise Failed(f"carbon-elb answered {answer[:120]!r}")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"carbon-elb answered {answer[:120]!r}")

    def ask(self, host="esb.example.com", path="/services/Echo"):
        """One request and its answer."""
        self.send(host, path)
        self.receive()


def connections(port, count):
    """So many connections, with nothing sent."""
    return [Client(port) for _ in range(count)]


def ask_together(held, targets=None):
    """A request on each connection before any answer is read, for what is told or for the same service."""
    for number, one in enumerate(held):
        one.send(*(targets[number] if targets else ()))
    for one in held:
        one.receive()


def listening_sockets(port, table=None):
    """How many sockets listen on an IPv4 port, by the kernel's table."""
    if table is None:
        with open("/proc/net/tcp") as file:
            table = file.read()
    rows = (line.split() for line in table.splitlines()[1:])
    return sum(1 for row in rows if len(row) > 3 and row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port)
