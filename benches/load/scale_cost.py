"""What a request costs the thread that serves it, against how much there is of everything else."""

import glob
import importlib.machinery
import importlib.util
import os
import random
import re
import signal
from dataclasses import dataclass, field

from measure import GROUPS
from peers import HERE
from processes import Failed, end, find, run, start, wait_until
from scale_balancer import Balancer, Client, Size, ask_together, connections

# Requests of the two windows whose difference is counted, and those whose system calls are.
FEW, MANY, CALLED = 300, 900, 600
# Requests before the first window.
WARM_UP = 200


@dataclass
class Axis:
    """What grows, and what was counted for each size of it."""

    name: str
    title: str
    # (how many, the configuration).
    sizes: list
    # How many of these are connections that only stay open.
    idle: bool = False
    # (how many, instructions, {group: system calls}).
    points: list = field(default_factory=list)


def axes(idle):
    """All of them; `idle` is how many connections this machine can hold open beside the load, at most 10,000."""
    return [
        Axis("members", "members of the pool", [(n, Size(members=n)) for n in (1, 10, 100, 1000, 10_000)]),
        Axis("hosts", "hosts of the cluster", [(n, Size(hosts=n)) for n in (1, 100, 10_000)]),
        Axis("paths", "services, and as many paths of other applications", [(n, Size(paths=n)) for n in (1, 100, 10_000)]),
        Axis("tenants", "tenants that ask, with a limit for each", [(n, Size(tenants=n)) for n in (1, 100, 10_000)]),
        # The members are the same throughout. A cluster may have 4,096 such tenants, but takes seconds to start with 512.
        Axis("partitions", "tenants with a node of their own (of 4,097 nodes)",
             [(n, Size(members=4097, partitions=n)) for n in (1, 10, 100)]),
        Axis("connections", "connections open, all but one idle", [(n, Size()) for n in (1, 100, 1000, idle)], idle=True),
    ]


def measure_axis(axis, binary, nodes, folder, say):
    """Counts every point of an axis."""
    if axis.idle:
        counts = [count for count, _ in axis.sizes]
        found = zip(counts, *(counted(binary, axis.sizes[0][1], nodes, f"{folder}/idle-{tool.__name__}", tool, counts)
                              for tool in (Callgrind, Strace)))
    else:
        found = ((count, *(counted(binary, size, nodes, f"{folder}/{axis.name}-{count}-{tool.__name__}", tool, [1])[0]
                           for tool in (Callgrind, Strace))) for count, size in axis.sizes)
    for point in found:
        axis.points.append(point)
        say(f"  {axis.name} {point[0]:,}: {point[1]:,.0f} instructions, {point[2]['all']:.2f} system calls")


def counted(binary, size, nodes, folder, tool, open_connections):
    """What one tool counts for a request, for each number of open connections, the one that asks among them."""
    figures, held = [], []
    os.makedirs(folder, exist_ok=True)
    with Balancer(binary, size, nodes, folder, tool.prefix(folder)) as balancer, Client(balancer.port) as client:
        targets = size.targets()
        everything_once(balancer, size, targets)
        choice = random.Random(1)
        tool = tool(balancer, folder)
        try:
            for number in open_connections:
                fresh = connections(balancer.port, number - 1 - len(held))
                for first in range(0, len(fresh), 50):
                    ask_together(fresh[first:first + 50])
                held += fresh
                figures.append(tool.count(lambda count: [client.ask(*choice.choice(targets)) for _ in range(count)]))
        finally:
            for one in held:
                one.stream.close()
    return figures


def everything_once(balancer, size, targets):
    """Every member has a connection, and every tenant was seen, before anything is counted."""
    held = connections(balancer.port, 50)
    for first in range(0, max(size.members, len(targets), WARM_UP), len(held)):
        ask_together(held, [targets[number % len(targets)] for number in range(first, first + len(held))])
    for one in held:
        one.stream.close()


class Callgrind:
    """Counts instructions of user space. It looks at nothing before the first window, which makes the start bearable."""

    def __init__(self, balancer, folder):
        self.balancer, self.out, self.dumps = balancer, f"{folder}/callgrind", 0
        self.cost = cost()
        self.control("-i", "on")

    @staticmethod
    def prefix(folder):
        return (find("valgrind"), "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind", "--fair-sched=yes",
                "--separate-threads=yes", "--instr-atstart=no")

    def count(self, ask):
        """Instructions of a request: the difference of two windows."""
        ask(FEW // 3)
        self.dump()
        few, many = (self.window(ask, count) for count in (FEW, MANY))
        return many.less(few, MANY - FEW).instructions()

    def window(self, ask, count):
        """The profile of so many requests, of the threads that serve clients."""
        ask(count)
        parts = self.dump()
        profile = self.cost.Profile()
        # Callgrind numbers threads as they were started, and so does the system.
        everyone, serving = self.balancer.threads(""), set(self.balancer.threads())
        for number, thread in enumerate(everyone, 1):
            if thread in serving and f"{parts}-{number:02}" in glob.glob(f"{parts}-*"):
                profile.read(f"{parts}-{number:02}")
        return profile

    def dump(self):
        """Writes what was counted since the last time; returns how the names of the files begin."""
        self.control("-d")
        self.dumps += 1
        parts = f"{self.out}.{self.dumps}"
        wait_until(lambda: glob.glob(f"{parts}-*"), 30, "a dump of callgrind", self.balancer.child)
        return parts

    def control(self, *what):
        status, said, errors = run([find("callgrind_control"), *what, str(self.balancer.pid)], 60)
        if status:
            raise Failed(f"callgrind_control: {(said + errors).strip()[-200:]}")


class Strace:
    """Counts system calls of the first thread that serves clients."""

    def __init__(self, balancer, folder):
        self.thread, self.folder = balancer.threads()[0], folder

    @staticmethod
    def prefix(_):
        return ()

    def count(self, ask):
        """System calls of a request, by group and in all."""
        out, said = f"{self.folder}/calls", f"{self.folder}/strace"
        open(said, "w").close()
        child = start([find("strace"), "-c", "-p", str(self.thread), "-o", out], said)

        def attached():
            with open(said) as words:
                return "attached" in words.read()
        try:
            wait_until(attached, 20, "strace", child)
            ask(CALLED)
        finally:
            end(child, signal.SIGINT)
        with open(out) as table:
            return grouped(parse_summary(table.read()), CALLED)


def parse_summary(text):
    """Calls by name, of the table that strace -c writes."""
    calls = {}
    for line in text.splitlines():
        found = re.match(r" *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", line)
        if found and found[2] != "total":
            calls[found[2]] = int(found[1])
    if not calls:
        raise Failed("strace has written no calls")
    return calls


def grouped(calls, requests):
    """Calls of a request by group of the load test, and all of them."""
    groups = {group: sum(calls.get(name, 0) for name in names) / requests for group, names in GROUPS.items()}
    return {"all": sum(calls.values()) / requests, **groups}


def cost():
    """tools/cost, which knows how to read what callgrind writes and what in it goes by the clock."""
    loader = importlib.machinery.SourceFileLoader("cost", f"{HERE}/../../tools/cost")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("cost", loader))
    loader.exec_module(module)
    return module
