"""Checks how outputs of the tools are read, against recorded ones, and the arithmetic. Run: benches/load/run --self-check"""

import re

from generators import parse_h2load, parse_oha, parse_wrk
from measure import parse_callgrind, parse_strace
from peers import render
from processes import Failed
from scenarios import Scenario
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
    }
    for what, good in cases.items():
        if not good:
            print(f"self-check: FAILED: {what}")
    print(f"self-check: {sum(cases.values())} of {len(cases)} passed")
    return 0 if all(cases.values()) else 1
