"""Checks of benches/load/scale that need no balancer. Run: benches/load/scale --self-check"""

import re
from types import SimpleNamespace

from processes import Failed
from scale_balancer import Size, listening_sockets, replaced
from scale_cost import Axis, grouped, parse_summary
from scale_report import memory_part, plot, slope, threads_part, verdict

SUMMARY = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.001200           2       600           writev
 40.00    0.000800           1      1200       300 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.002000           1      1800       300 total
"""

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0
   3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4 1 0
"""


def refuses(what):
    """Whether it fails, and says so."""
    try:
        what()
    except Failed:
        return True
    return False


def threads(ratios):
    """What was measured if these are the ratios of the rounds."""
    return SimpleNamespace(conf="x", cpu={1: [50.0] * len(ratios), 2: [50 * ratio for ratio in ratios]}, failures=0,
                           rate={1: [1], 2: [1]}, share=[0.5], sockets={1: 1, 2: 2})


def cases():
    """What is checked, and whether it is so."""
    calls = parse_summary(SUMMARY)
    bare = Size(members=300, hosts=2).configuration(8280, "/log")
    tenants = Size("ordinary", members=3, partitions=2, threads=2, weight=7).configuration(8280, "/log")
    paths = Size(paths=3)
    axis = Axis("x", "x & y", [], points=[(1, 1000, {}), (10_000, 1100, {})])
    return {
        "strace: calls, with and without errors, but not their sum": calls == {"writev": 600, "recvfrom": 1200},
        "strace: for each request": grouped(calls, 600) == {"all": 3, "receives": 2, "sends": 1, "waits": 0},
        "strace: nonsense is refused": refuses(lambda: parse_summary("nonsense")),
        "listening sockets: of this port, and no connections": listening_sockets(8080, TCP) == 2,
        "configuration: members":
            len(re.findall(r"id: wk-\d+,.* host: 127\.0\.\d+\.\d+ ", bare)) == 300 and "127.0.1.50 " in bare,
        "configuration: one member is one": Size(members=1).configuration(1, "").count("{ id: ") == 1,
        "configuration: hosts": bare.count("- h1.example.com") == 1,
        "configuration: tenants":
            tenants.count("- { name: p") == 2 and "nodes: [wk-2]" in tenants and tenants.count("{ id: ") == 3,
        "configuration: threads and weight": "threads: 2" in tenants and "id: wk-1, weight: 7," in tenants,
        "configuration: services and paths": all(name in paths.configuration(1, "") for name in ("Orders2", "/shop-2/orders")),
        "configuration: what is not there is not replaced": refuses(lambda: replaced("a a", "b", "c")),
        "configuration: nor what is there twice": refuses(lambda: replaced("a a", "a", "c")),
        "targets: services and paths":
            len(paths.targets()) == 5 and ("esb.example.com", "/shop-1/orders/7") in paths.targets(),
        "targets: hosts": [host for host, _ in Size(hosts=2).targets()] == ["esb.example.com", "h1.example.com"],
        "growth: by the decade": abs(slope([(1, 100), (10, 150), (100, 200)]) - 50) < 1e-9,
        "growth: flat": verdict([(1, 100), (10_000, 109)]).startswith("Flat: with 10,000 a request costs 1.09 times"),
        "growth: told": "50 instructions more, 50.0% of" in verdict([(1, 100), (10, 150), (100, 200)]),
        "threads: a target inside the interval is not decided": all(said in threads_part([threads(ratio)]) for ratio, said in (
            ([1.0, 1.0, 1.2], "not decided"), ([1.0, 1.0, 1.04], "reached"), ([1.1, 1.2, 1.3], "missed"))),
        "memory: the target is for the second step":
            "bare 12,001 bytes, missed" in memory_part({"bare": [[("a", 1), ("b", 12_001), ("c", 1)]]}, 9),
        "picture: every point, and text that is escaped": plot([axis]).count("<circle") == 2 and "x &amp; y" in plot([axis]),
    }


def check():
    """0 if all is as it should be, else 1, with what is not."""
    found = cases()
    for what, good in found.items():
        if not good:
            print(f"self-check: FAILED: {what}")
    print(f"self-check: {sum(found.values())} of {len(found)} passed")
    return 0 if all(found.values()) else 1
