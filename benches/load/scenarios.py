"""What is measured: each scenario is a configuration and a load."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """One row of the results."""

    name: str
    title: str
    # Which of conf/*-{conf}.*
    conf: str = "bare"
    path: str = "/services/Echo"
    connections: int = 64
    # The load generator: wrk (HTTP/1.1) or h2load (HTTP/2).
    http2: bool = False
    tls: bool = False
    # A new connection for each request.
    close: bool = False
    members: int = 4
    hosts: int = 1
    # Connections that are held open beside the load.
    idle: int = 0
    # What costs are told for: a request, or a megabyte of bodies.
    unit: str = "request"
    # Numbers of requests whose difference in instructions and system calls is counted; none: they are not counted.
    counts: tuple = (2000, 6000)
    # How many idle connections memory is measured with; 0: it is not.
    memory: int = 0
    # Whether latency is also measured with an open loop.
    open_loop: bool = False

    @property
    def scheme(self):
        return "https" if self.tls else "http"

    def host_names(self):
        """The hosts that requests are for."""
        return ["esb.example.com"] + [f"h{number}.example.com" for number in range(1, self.hosts)]


SCENARIOS = [
    Scenario("bare", "Routing alone, 131-byte body, keep-alive", memory=10_000, open_loop=True),
    Scenario("ordinary", "Access log, metrics, affinity cookie, health checks, limits; 131-byte body", "ordinary", memory=10_000,
             open_loop=True),
    Scenario("page", "10 kB body", path="/services/Page"),
    Scenario("connections", "A new connection for each request", close=True, counts=(300, 900)),
    Scenario("idle", "10,000 idle connections beside 100 busy ones", connections=100, idle=10_000, counts=()),
    Scenario("tls", "TLS 1.3, keep-alive", tls=True, memory=2000, open_loop=True),
    Scenario("handshakes", "A TLS 1.3 handshake (P-256, not resumed) for each request", tls=True, close=True, counts=(200, 600)),
    Scenario("http2", "HTTP/2 over TLS, 8 connections of 8 streams", tls=True, http2=True, connections=8),
    Scenario("members", "1,000 members", members=1000),
    Scenario("hosts", "10,000 hosts, asked for in turn", hosts=10_000),
    Scenario("megabyte", "1 MB bodies", path="/services/Report", connections=8, unit="MB", counts=(50, 150)),
    Scenario("archive", "100 MB bodies", path="/services/Archive", connections=2, unit="MB", counts=()),
]

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
QUICK = ["bare", "ordinary"]
