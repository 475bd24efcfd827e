"""Checks how outputs of the tools are read, against recorded ones, and the arithmetic. Run: benches/load/run --self-check"""

import contextlib
import io
import os
import re
import tempfile
from types import SimpleNamespace

import measure
from generators import parse_h2load, parse_oha, parse_wrk
from measure import parse_callgrind, parse_strace
from peers import BY_NAME, PEERS, choose, configurations, further, locate, placeholders, render, takes_part
from processes import Failed
from report import against_pingora, table
from scenarios import BY_NAME as SCENARIO, Scenario
from session import Figures, attempt, disturbance
from stats import interval, paired

WRK = """Running 3s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
BENCH {"requests": 90, "bytes": 12000, "seconds": 3.0, "failures": 1, "timeouts": 2, "status": 3, "p50": 5, "p99": 6, "p999": 7}
"""

H2LOAD = """finished in 250.50ms, 7984.03 req/s, 1.63MB/s
requests: 2000 total, 2000 started, 2000 done, 1999 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 1999 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 408.20KB (418000) total, 117.19KB (120000) headers (space savings 0.00%), 255.86KB (262000) data
"""

OHA = """{"summary": {"total": 4.0}, "latencyPercentiles": {"p50": 0.001, "p99": 0.002, "p99.9": 0.003},
"statusCodeDistribution": {"200": 100, "503": 2}, "errorDistribution": {"aborted due to deadline": 5, "refused": 1}}"""

CALLGRIND = "version: 1\nevents: Ir\nfn=(1) main\n12 40\ntotals: 123456\n"

STRACE = """17 100.000001 recvfrom(9, ""..., 4096, 0, NULL, NULL) = 120
17 100.500000 sendto(9, ""..., 131, 0, NULL, 0 <unfinished ...>
18 100.600000 epoll_wait(4,  <unfinished ...>
17 100.700000 <... sendto resumed>) = 131
17 200.000000 recvfrom(9, ""..., 4096, 0, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)
17 300.000000 --- SIGINT {si_signo=SIGINT} ---
"""


def refuses(parse, text):
    """Whether text that is no output of the tool is refused."""
    try:
        parse(text)
    except Failed:
        return True
    return False


def filled():
    """Whether every file of every peer, with and without TLS, has a value for each placeholder, and names the four nodes."""
    setting = SimpleNamespace(certificate=("a.crt", "a.key", "a.pem"), backend=SimpleNamespace(port=4321), files=1024)
    for peer in PEERS:
        for scenario in (Scenario("x", "x", conf=conf, tls=tls) for conf in ("bare", "ordinary") for tls in (False, True)):
            texts = [text for _, text in configurations(peer, scenario, placeholders(peer, scenario, setting, "/folder", 1234))]
            said = "\n".join(line for line in "".join(texts).splitlines() if not line.lstrip().startswith("#"))
            nodes = all(f"127.0.0.{number}" in said for number in (1, 2, 3, 4))
            if "BENCH_" in said or not nodes or ("a.crt" in said or "a.pem" in said) != scenario.tls:
                return False
    return True


def found_where_installed():
    """Whether a peer is found in $BENCH_PEERS, before any other place."""
    before = os.environ.get("BENCH_PEERS")
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/pingap"
        with open(program, "w") as out:
            out.write("#!/bin/sh\n")
        os.chmod(program, 0o755)
        os.environ["BENCH_PEERS"] = folder
        try:
            return dict((peer.name, path) for peer, path in locate("/carbon-elb")[0]).get("pingap") == program
        finally:
            os.environ.pop("BENCH_PEERS")
            if before is not None:
                os.environ["BENCH_PEERS"] = before


def chosen():
    """What is made of names of peers, where one peer is not there: by what is checked, whether it is so."""
    there = [(BY_NAME[name], f"/{name}") for name in ("carbon-elb", "haproxy", "pingap")]
    missing = {"caddy": "caddy is not there"}
    bare, page, hosts = SCENARIO["bare"], SCENARIO["page"], SCENARIO["hosts"]
    (named, _), (usual, left_out) = choose(["pingap"], [], there, missing), choose(None, ["haproxy", "pingap", "caddy"], there, missing)
    pingap = dict((peer.name, peer) for peer, _ in usual)["pingap"]
    return {
        "peers: an unknown one is refused": refuses(lambda name: choose([name], [], there, missing), "nonsense"),
        "peers: one that is named and not there is refused": refuses(lambda name: choose([name], [], there, missing), "caddy"),
        "peers: one that is not named and not there is left out": left_out == ["caddy is not there: left out"] and len(usual) == 2,
        "peers: in two scenarios unless named": takes_part(pingap, bare) and not takes_part(pingap, page)
            and takes_part(named[0][0], page) and not takes_part(named[0][0], hosts) and takes_part(BY_NAME["haproxy"], hosts),
        "peers: other builds have names of their own": [(peer.name, peer.program, path) for peer, path in further(["/a", "/b"])]
            == [("carbon-elb-2", "carbon-elb", "/a"), ("carbon-elb-3", "carbon-elb", "/b")],
    }


def rivals():
    """What is said of instructions: one of two goals is missed, and another scenario does not count."""
    several = []
    for name, ours, theirs in (("bare", 100, 150), ("ordinary", 100, 149), ("page", 100, 300)):
        several.append(Figures(SCENARIO[name]))
        several[-1].add("instructions", "carbon-elb", ours)
        several[-1].add("instructions", "pingap", theirs)
    said = against_pingora(several)
    return len(said) == 1 and said[0].endswith("1.50 (reached) in bare, 1.49 (missed) in ordinary.") and against_pingora([]) == []


def broken():
    """Whether a balancer that breaks under load is noted as broken and invalid, and one that does not is not."""
    figures = Figures(SCENARIO["bare"])

    def fail():
        raise Failed("no answers")

    with contextlib.redirect_stderr(io.StringIO()):
        attempt(figures, SimpleNamespace(peer=BY_NAME["envoy"]), fail)
        attempt(figures, SimpleNamespace(peer=BY_NAME["haproxy"]), lambda: None)
    return figures.broken == {"envoy"} and dict(figures.invalid) == {"envoy": ["no answers"]}


def bounded():
    """Whether counting instructions gives up when its time is over, and ends the balancer."""
    ended, real = [], measure.Running
    measure.Running = lambda *_: SimpleNamespace(end=ended.append)
    try:
        return refuses(lambda _: measure.instructions(BY_NAME["envoy"], "", SCENARIO["bare"], None, "", 0), "") and len(ended) == 1
    finally:
        measure.Running = real


def columns():
    """Whether a table has columns for those only that took part, HAProxy's first, and compares builds where it has no turn."""
    figures = Figures(SCENARIO["page"])
    figures.add("cpu", "carbon-elb", 30)
    figures.add("cpu", "haproxy", 20)
    lines = table(figures, ["carbon-elb", "haproxy", "envoy"]).splitlines()
    builds = Figures(SCENARIO["page"])
    builds.add("cpu", "carbon-elb", 30)
    builds.add("cpu", "carbon-elb-2", 15)
    compared = table(builds, ["carbon-elb", "carbon-elb-2"]).splitlines()
    return ("|  | unit | haproxy | carbon-elb ÷ haproxy |" in lines and "| CPU | µs a request | 20.0 | 1.50 |" in lines
            and "|  | unit | carbon-elb | carbon-elb-2 ÷ carbon-elb |" in compared and "| CPU | µs a request | 30.0 | 0.50 |" in compared)


def disturbed():
    """Whether latency beside idle connections is held against that without, round by round."""
    figures = Figures(SCENARIO["idle"])
    for busy, alone in ((110, 100), (220, 200), (330, 300), (10, None)):
        figures.add("p99", "carbon-elb", busy)
        figures.add("undisturbed-p99", "carbon-elb", alone)
    return disturbance(figures, "carbon-elb").endswith("p50 not measured, p99 1.100 [1.100–1.100]")


def check():
    """0 if all is as it should be, else 1, with what is not."""
    wrk, h2load, oha = parse_wrk(WRK), parse_h2load(H2LOAD), parse_oha(OHA)
    members = render("#tls# tls: {}\n- wk-4 127.0.0.4:${BENCH_A} ${BENCH_B:-75s}\n", {"BENCH_A": 9},
                     Scenario("x", "x", members=5, tls=True))
    cases = {
        "wrk: every kind of failure counts": wrk.failures == 6 and wrk.requests == 90 and wrk.p999 == 7,
        "h2load: a status that is no 2xx is a failure": h2load.failures >= 1 and h2load.requests == 2000,
        "h2load: seconds": abs(h2load.seconds - 0.2505) < 1e-9 and h2load.bytes == 418000,
        "oha: failures but not what the end of time cut off": oha.failures == 3 and oha.p50 == 1000,
        "callgrind: the total": parse_callgrind(CALLGRIND) == 123456,
        "strace: calls by the time at which they begin":
            parse_strace(STRACE.splitlines(), [(100, 150), (180, 250)])
            == [{"recvfrom": 1, "sendto": 1, "epoll_wait": 1}, {"recvfrom": 1}],
        "nonsense is refused": all(refuses(parse, "nonsense") for parse in (parse_wrk, parse_h2load, parse_oha, parse_callgrind,
                                                                            lambda text: parse_strace([text], []))),
        "interval: third and tenth of twelve": interval(range(1, 13)) == (3, 10),
        "interval: the extremes of few": interval([3, 1, 2]) == (1, 3),
        "paired: ratios within rounds": paired([2, 4, 9], [1, 2, 3]) == (2, 2, 3),
        "paired: nothing to compare": paired([1], []) is None,
        "configurations: members, TLS lines, placeholders":
            re.sub(r"\s+", " ", members) == "tls: {} - wk-4 127.0.0.4:9 75s - wk-5 127.0.0.5:9 75s ",
        "configurations: an unknown placeholder is refused": refuses(lambda text: render(text, {}, Scenario("x", "x")), "${BENCH_NO}"),
        "configurations: those of all peers are filled in": filled(),
        "peers: found where they were installed": found_where_installed(),
        **chosen(),
        "load: who breaks is noted, and nobody else": broken(),
        "callgrind: a bound on the time": bounded(),
        "report: latency beside idle connections": disturbed(),
        "report: columns of those that took part": columns(),
        "report: instructions of those on Pingora": rivals(),
    }
    for what, good in cases.items():
        if not good:
            print(f"self-check: FAILED: {what}")
    print(f"self-check: {sum(cases.values())} of {len(cases)} passed")
    return 0 if all(cases.values()) else 1
