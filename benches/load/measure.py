"""What a balancer costs: processor time, memory, user instructions, system calls. Of its process only, all threads."""

import os
import re
import time
from collections import Counter
from statistics import median

from generators import Held, fixed_count
from peers import Running
from processes import Failed, find, run

# Differences that are counted of a balancer that does much beside its requests.
BURST_COUNTS = 3
TICK = os.sysconf("SC_CLK_TCK")

# How system calls are summed up.
GROUPS = {
    "receives": ("read", "readv", "recvfrom", "recvmsg", "recvmmsg"),
    "sends": ("write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice"),
    "waits": ("epoll_wait", "epoll_pwait", "epoll_pwait2"),
}


def processor_time(pid):
    """(all, user) seconds that the process has used: all from the scheduler, exact; the share of user from ticks."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    user, system = int(fields[11]) / TICK, int(fields[12]) / TICK
    nanoseconds = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as stat:
                nanoseconds += int(stat.read().split()[0])
        except OSError:
            continue
    return (nanoseconds / 1e9 or user + system), user, system


def spent(before, after):
    """(all, user, system) seconds between two readings of `processor_time`."""
    total, user, system = (b - a for a, b in zip(before, after))
    share = user / (user + system) if user + system > 0 else 0
    return total, total * share, total * (1 - share)


def resident(pid):
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024


def memory(peer, path, scenario, setting, folder, count, busy):
    """Bytes of resident memory for each of `count` connections, idle or busy, of a balancer that was just started."""
    running = Running(peer, path, scenario, setting, folder, cpus=setting.proxy_cpus)
    try:
        fixed_count(running, 400, setting.other_cpus)
        before = resident(running.pid)
        held = Held(running, count, "/services/Slow" if busy else "/services/Echo", setting.other_cpus)
        try:
            return (resident(running.pid) - before) / count
        finally:
            held.release()
    finally:
        running.end()


def instructions(peer, path, scenario, setting, folder, seconds=300):
    """User instructions for a request: the difference of two numbers of requests, which takes out what connections cost.

    Of a balancer that does much beside its requests, it is the median of several such differences.

    Fails if the requests are not done within `seconds`, for a program may start under valgrind and then stand still.
    """
    out = f"{folder}-callgrind"
    until = time.monotonic() + seconds
    running = Running(peer, path, scenario, setting, f"{folder}-valgrind",
                      (find("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}", "-q"), min(180, seconds))
    few, many = scenario.counts
    parts = []
    try:
        for number, count in enumerate((few // 2, *(few, many) * (BURST_COUNTS if peer.bursts else 1)), 1):
            left = until - time.monotonic()
            if left < 1:
                raise Failed(f"not within {seconds} s under valgrind")
            fixed_count(running, count, None, left)
            parts.append(dump(running, out, number))
    finally:
        running.end(20)
    return median((more - fewer) / (many - few) for fewer, more in zip(parts[1::2], parts[2::2]))


def dump(running, out, number):
    """The instructions since the last dump."""
    status, said, errors = run([find("callgrind_control"), "-d", str(running.pid)], 60)
    written = f"{out}.{number}"
    if status or not os.path.exists(written):
        raise Failed(f"callgrind_control: {(said + errors).strip()[-200:]}")
    with open(written) as text:
        return parse_callgrind(text.read())


def parse_callgrind(text):
    """The instructions that a file of callgrind tells, over all threads."""
    found = re.findall(r"^totals: (\d+)", text, re.M) or re.findall(r"^summary: (\d+)", text, re.M)
    if not found:
        raise Failed("callgrind has written no total")
    return sum(int(number) for number in found)


def system_calls(peer, path, scenario, setting, folder):
    """System calls for a request as {"all": …, "receives": …, "sends": …, "waits": …}, likewise, under strace."""
    out = f"{folder}-strace"
    running = Running(peer, path, scenario, setting, f"{folder}-traced",
                      (find("strace"), "-f", "-qq", "-ttt", "-s", "0", "-o", out), 60)
    few, many = scenario.counts
    windows = []
    try:
        fixed_count(running, few // 2, None)
        for count in (few, many):
            began = time.time()
            fixed_count(running, count, None)
            windows.append((began, time.time()))
    finally:
        running.end(30)
    with open(out, errors="replace") as written:
        one, other = parse_strace(written, windows)
    each = {name: (other[name] - one[name]) / (many - few) for name in {*one, *other}}
    # How often it waits is chance, and no cost of connections: a difference would be noise.
    each.update((name, other[name] / many) for name in GROUPS["waits"] if name in other)
    sums = {group: sum(each.get(name, 0) for name in names) for group, names in GROUPS.items()}
    return {"all": sum(each.values()), **sums}, {name: round(number, 2) for name, number in sorted(each.items()) if number >= 0.005}


def parse_strace(lines, windows):
    """For each window of time, a counter of the calls that began in it, by name."""
    calls = [Counter() for _ in windows]
    seen = False
    for line in lines:
        found = re.match(r"\d+ +(\d+\.\d+) (\w+)\(", line)
        if not found:
            continue
        seen = True
        for counter, (began, ended) in zip(calls, windows):
            if began <= float(found[1]) <= ended:
                counter[found[2]] += 1
    if not seen:
        raise Failed("strace has written no calls")
    return calls
