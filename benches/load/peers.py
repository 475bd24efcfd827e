"""The balancers: where they are found, how they are configured for the same work, started and ended."""

import http.client
import os
import re
import signal
import ssl
from dataclasses import dataclass, replace

from backend import member_addresses
from processes import Failed, descendants, end, find, free_port, run, start, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


@dataclass(frozen=True)
class Peer:
    """A balancer. `conf` and `command` have `{conf}`, `{program}` and `{file}` in place of what differs."""

    name: str
    program: str
    version: tuple
    conf: str
    command: tuple
    # How some write TLS into their listeners; `#tls#` lines are for the others.
    tls: str = ""
    listen: str = ""
    env: tuple = ()
    # Configurations that the one in `conf` names, and that are written beside it.
    more: tuple = ()
    # The scenarios in which it takes part unless it is asked for by name; none: all.
    only: tuple = ()
    # Scenarios that its configurations are not made for.
    unfit: tuple = ()
    # Whether it is built on Pingora, as carbon-elb is.
    pingora: bool = False
    # Why its instructions are not counted.
    uncounted: str = ""
    # Whether it does so much beside its requests at times that a single count of instructions may be far off.
    bursts: bool = False
    # Affinity cookies that clients send to one that sets none itself.
    sessions: tuple = ()


# Of each of these two there is a configuration; with all scenarios, so many balancers would take hours.
BRIEF = ("bare", "ordinary")
GO = "valgrind breaks when it runs this Go program"
ONE_GO_THREAD = (("GOMAXPROCS", "1"),)

PEERS = [
    Peer("carbon-elb", "carbon-elb", ("--version",), "carbon-elb-{conf}.yaml", ("{program}", "run", "--config", "{file}"),
         env=(("RUST_LOG", "warn"),)),
    Peer("haproxy", "haproxy", ("-v",), "haproxy-{conf}.cfg", ("{program}", "-db", "-f", "{file}"),
         tls="ssl crt {both} alpn h2,http/1.1"),
    Peer("nginx", "nginx", ("-v",), "nginx-{conf}.conf", ("{program}", "-c", "{file}", "-e", "stderr"),
         tls="ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;", listen="ssl http2"),
    Peer("envoy", "envoy", ("--version",), "envoy-{conf}.yaml",
         ("{program}", "--config-path", "{file}", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"), only=BRIEF),
    Peer("traefik", "traefik", ("version",), "traefik-{conf}.yaml", ("{program}", "--configFile={file}"), env=ONE_GO_THREAD,
         more=("traefik-{conf}-routes.yaml",), only=BRIEF, unfit=("hosts",), uncounted=GO),
    Peer("caddy", "caddy", ("version",), "caddy-{conf}.caddyfile",
         ("{program}", "run", "--adapter", "caddyfile", "--config", "{file}"), tls="tls {certificate} {key}", env=ONE_GO_THREAD,
         only=BRIEF, unfit=("hosts",), uncounted=GO),
    Peer("pingap", "pingap", ("--version",), "pingap-{conf}.toml", ("{program}", "--conf", "{file}"), only=BRIEF, unfit=("hosts",),
         pingora=True, bursts=True, sessions=tuple(f"CARBON_ELB_WORKER=session-{number}" for number in range(8))),
    Peer("zentinel", "zentinel", ("--version",), "zentinel-{conf}.kdl", ("{program}", "run", "--config", "{file}"),
         tls='tls {{ cert-file "{certificate}"; key-file "{key}"; }}', env=(("RUST_LOG", "warn"),), only=BRIEF, unfit=("hosts",),
         pingora=True),
]
BY_NAME = {peer.name: peer for peer in PEERS}


def locate(binary):
    """[(peer, path)] of the peers that are installed, and by name a sentence for each that is not."""
    found, missing = [], {}
    folders = [os.environ.get("BENCH_PEERS", ""), f"{os.environ.get('CARGO_TARGET_DIR') or f'{ROOT}/target'}/bench-peers/bin"]
    for peer in PEERS:
        path = binary if peer.name == "carbon-elb" else find(peer.program, folders)
        if path:
            found.append((peer, path))
        else:
            missing[peer.name] = f"{peer.name} is not installed (not on PATH, in $BENCH_PEERS or in target/bench-peers)"
    return found, missing


def choose(asked, default, found, missing):
    """[(peer, path)] of those that take part, and a sentence for each of `default` that is left out.

    `asked` are names that the user wants, or None: these take part in every scenario, and it fails if one of them is not there.
    """
    for name in asked or ():
        if name not in BY_NAME:
            raise Failed(f"there is no peer {name}; there are: {', '.join(BY_NAME)}")
        if name in missing:
            how = f"benches/load/peers-install {name}" if BY_NAME[name].only else "tools/setup bench"
            raise Failed(f"{missing[name]}: run  {how}")
    if asked:
        return [(replace(peer, only=()), path) for peer, path in found if peer.name in asked], []
    return [one for one in found if one[0].name in default], [f"{missing[name]}: left out" for name in default if name in missing]


def further(binaries):
    """[(peer, path)] of other builds of carbon-elb, which have their turns beside the first: carbon-elb-2, carbon-elb-3, …"""
    return [(replace(BY_NAME["carbon-elb"], name=f"carbon-elb-{number}"), path) for number, path in enumerate(binaries, 2)]


def takes_part(peer, scenario):
    """Whether the peer has a turn in a scenario."""
    return scenario.name not in peer.unfit and (not peer.only or scenario.name in peer.only)


def version(peer, path):
    """What the peer says of its version, in one line."""
    try:
        _, out, errors = run([path, *peer.version], 20)
    except (Failed, OSError) as problem:
        return f"unknown ({problem})"
    lines = [line.strip() for line in (out + errors).splitlines() if re.search(r"\d+\.\d+", line)]
    # Some say by which path they were called, which is of this machine.
    return lines[0].replace(path, peer.program) if lines else "unknown"


def render(template, values, scenario):
    """A configuration: members and hosts repeated, TLS lines switched on, placeholders filled in."""
    lines = []
    for line in template.splitlines():
        if scenario.tls:
            line = line.replace("#tls# ", "", 1)
        lines.append(line)
        if "127.0.0.4" in line and not line.lstrip().startswith("#"):
            lines += [line.replace("127.0.0.4", address).replace("wk-4", f"wk-{number}")
                      for number, address in enumerate(member_addresses(scenario.members), 1) if number > 4]
        if line.strip(" -,\"") == "esb.example.com":
            lines += [line.replace("esb.example.com", host) for host in scenario.host_names()[1:]]

    def value(match):
        known = values.get(match[1])
        if known is None and match[2] is None:
            raise Failed(f"no value for {match[1]}")
        return str(known if known is not None else match[2])

    return re.sub(r"\$\{(BENCH_\w+)(?::-([^}]*))?\}", value, "\n".join(lines) + "\n")


def placeholders(peer, scenario, setting, folder, port):
    """The values of the placeholders in configurations; None: the default that stands beside the placeholder."""
    certificate, key, both = setting.certificate
    tls = {"certificate": certificate, "key": key, "both": both}
    return {
        "BENCH_PORT": port, "BENCH_ADMIN_PORT": free_port(), "BENCH_NODE_PORT": setting.backend.port,
        "BENCH_ACCESS_LOG": f"{folder}/access.log", "BENCH_DIR": folder, "BENCH_HOSTS": f"{folder}/hosts",
        "BENCH_CERTIFICATE": certificate, "BENCH_KEY": key, "BENCH_FILES": setting.files, "BENCH_SCHEME": scenario.scheme,
        "BENCH_TLS": peer.tls.format(**tls) if scenario.tls else "",
        "BENCH_LISTEN": peer.listen if scenario.tls else "",
        # HAProxy keeps so many for each server, the others for all: enough for each member to keep its connection.
        "BENCH_KEEPALIVE": 4 * scenario.members if scenario.members > 64 else None,
        "BENCH_IDLE": "1h" if scenario.idle else None,
    }


def configurations(peer, scenario, values):
    """(name, text) of each file that the peer reads."""
    for pattern in (peer.conf, *peer.more):
        name = pattern.format(conf=scenario.conf)
        with open(f"{HERE}/conf/{name}") as template:
            yield name, render(template.read(), values, scenario)


class Running:
    """A balancer that runs."""

    def __init__(self, peer, path, scenario, setting, folder, prefix=(), patience=30, cpus=None):
        """`prefix` is a program that runs it, such as valgrind; `patience` is how long it may take to answer, in seconds."""
        self.peer, self.scenario, self.folder = peer, scenario, folder
        os.makedirs(folder, exist_ok=True)
        # A port that was free may be taken by a connection of somebody else's before it is bound.
        for left in (2, 1, 0):
            try:
                return self.launch(path, setting, prefix, patience, cpus)
            except Failed as problem:
                if left == 0 or "in use" not in str(problem).lower():
                    raise

    def launch(self, path, setting, prefix, patience, cpus):
        """Starts it on a port that is free, and waits until it answers."""
        peer, scenario, folder = self.peer, self.scenario, self.folder
        self.port = free_port()
        values = placeholders(peer, scenario, setting, folder, self.port)
        for name, text in configurations(peer, scenario, values):
            with open(f"{folder}/{name}", "w") as out:
                out.write(text)
        file = f"{folder}/{peer.conf.format(conf=scenario.conf)}"
        with open(values["BENCH_HOSTS"], "w") as out:
            out.write("".join(f"{host}\n" for host in scenario.host_names()))
        command = [word.format(program=path, file=file, port=self.port) for word in peer.command]
        # HAProxy logs to its standard output; it goes to the file that the others log to.
        with open(values["BENCH_ACCESS_LOG"], "ab") as log:
            self.child = start([*prefix, *command], f"{folder}/errors", cpus, env=dict(peer.env), stdout=log)
        self.traced = bool(prefix)
        try:
            wait_until(lambda: self.answer() == 200, patience, peer.name, self.child)
        except Failed as problem:
            self.end()
            raise Failed(f"{problem}; {self.last_words()}") from None
        self.pid = descendants(self.child.pid)[-1] if prefix and "strace" in prefix[0] else self.child.pid

    def connect(self, timeout=10):
        """A client connection of Python's."""
        if self.scenario.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=trusting())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def answer(self):
        """The status of a request, or None."""
        client = self.connect()
        try:
            client.request("GET", "/services/Version", headers={"Host": "esb.example.com"})
            return client.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            client.close()

    def cookies(self):
        """Affinity cookies of several members, as clients send them back; none without affinity."""
        if self.scenario.conf != "ordinary":
            return []
        if self.peer.sessions:
            return list(self.peer.sessions)
        found = []
        for _ in range(8):
            client = self.connect()
            try:
                client.request("GET", "/services/Version", headers={"Host": "esb.example.com"})
                cookies = client.getresponse().headers.get_all("Set-Cookie", [])
            finally:
                client.close()
            found += [cookie.split(";")[0] for cookie in cookies if cookie.startswith("CARBON_ELB_WORKER=")]
        return sorted(set(found))

    def last_words(self):
        """The end of what it has written to its standard error."""
        with open(f"{self.folder}/errors", errors="replace") as log:
            return log.read()[-400:].strip()

    def end(self, seconds=10):
        """Ends it: at once, as all of them understand SIGINT."""
        whom = descendants(self.child.pid)[-1] if self.traced else None
        end(self.child, signal.SIGINT, seconds, whom)


def trusting():
    """A TLS context that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
