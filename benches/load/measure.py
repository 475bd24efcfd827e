"""What a balancer costs: processor time, memory, user instructions, system calls. Of its process only, all threads."""

import os
import re

from generators import Held, fixed_count
from peers import Running
from processes import Failed, find

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


def instructions(peer, path, scenario, setting, folder):
    """User instructions for a request, from two runs under callgrind with different numbers of requests."""
    valgrind = find("valgrind")

    def total(count):
        out = f"{folder}/callgrind-{count}.out"
        running = Running(peer, path, scenario, setting, f"{folder}/callgrind-{count}",
                          (valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", "-q"), 180)
        try:
            fixed_count(running, count, None)
        finally:
            running.end(60)
        with open(out) as written:
            return parse_callgrind(written.read())

    few, many = scenario.counts
    return (total(many) - total(few)) / (many - few)


def parse_callgrind(text):
    """The instructions that a file of callgrind tells, over all threads."""
    found = re.findall(r"^totals: (\d+)", text, re.M) or re.findall(r"^summary: (\d+)", text, re.M)
    if not found:
        raise Failed("callgrind has written no total")
    return sum(int(number) for number in found)


def system_calls(peer, path, scenario, setting, folder):
    """System calls for a request as {"all": …, "receives": …, "sends": …, "waits": …}, likewise, under strace."""
    strace = find("strace")

    def calls(count):
        out = f"{folder}/strace-{count}.out"
        running = Running(peer, path, scenario, setting, f"{folder}/strace-{count}",
                          (strace, "-f", "-c", "-o", out), 60)
        try:
            fixed_count(running, count, None)
        finally:
            running.end(30)
        with open(out) as written:
            return parse_strace(written.read())

    few, many = scenario.counts
    one, other = calls(few), calls(many)
    each = {name: (other.get(name, 0) - one.get(name, 0)) / (many - few) for name in {*one, *other}}
    sums = {group: sum(each.get(name, 0) for name in names) for group, names in GROUPS.items()}
    return {"all": sum(each.values()), **sums}


def parse_strace(text):
    """{name: number of calls} of a table of `strace -c`."""
    calls = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) in (5, 6) and fields[0][0].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    if not calls:
        raise Failed("strace has written no table")
    return calls
