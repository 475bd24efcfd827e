"""What the process as a whole costs: starting, reading its configuration again, a second thread, idle connections."""

import os
import signal
import time
from collections import defaultdict
from dataclasses import replace
from statistics import median

import generators
from measure import processor_time, resident
from processes import Failed
from scale_balancer import Balancer, Client, Size, ask_together, connections, listening_sockets

# Before memory is looked at: what every thread has once it has served a request is not a connection's.
WARM_UP = 400
# Requests that are under way at the same time when idle connections are asked together.
TOGETHER = 1000


def settled(pid, patience=20):
    """Seconds of processor time that the process has used, when it has nothing more to do."""
    until = time.monotonic() + patience
    before = processor_time(pid)[0]
    while time.monotonic() < until:
        # How long nothing must have happened: there is no event to wait for.
        time.sleep(0.2)
        now = processor_time(pid)[0]
        if now - before < 0.002:
            return now
        before = now
    raise Failed("carbon-elb does not come to rest")


def starts(binary, members, nodes, folder, times):
    """(wall, CPU) seconds of starts, and of reloads: medians of so many of each."""
    found = defaultdict(list)
    size = Size(members=members)
    for number in range(times):
        with Balancer(binary, size, nodes, f"{folder}/start-{members}-{number}") as balancer:
            found["start"].append((balancer.took, settled(balancer.pid)))
            found["memory"].append((resident(balancer.pid), 0))
            for outcome, weight in (("reload", 2), ("same", 2)):
                found[outcome].append(reloaded(balancer, replace(size, weight=weight)))
    return {what: tuple(median(values) for values in zip(*pairs)) for what, pairs in found.items()}


def reloaded(balancer, size):
    """(wall, CPU) seconds of a reload, from the signal to the line of the log that says what came of it."""
    balancer.configure(size)
    behind = os.path.getsize(balancer.log)
    cpu, began = settled(balancer.pid), time.monotonic()
    os.kill(balancer.pid, signal.SIGHUP)
    outcome = balancer.said(r"(?m)reload \(SIGHUP\): (.*)$", behind)
    wall = time.monotonic() - began
    if not outcome[1].startswith(("clusters.esb.nodes.wk-1.weight", "no differences")):
        raise Failed(f"a reload came out otherwise: {outcome[1]}")
    with Client(balancer.port) as client:
        client.ask()
    return wall, settled(balancer.pid) - cpu


class Threads:
    """Two balancers that differ in their threads only, in turns on the same processors as everything else."""

    def __init__(self, conf):
        self.conf, self.sockets, self.failures = conf, {}, 0
        # Microseconds of processor time for a request, and requests in a second, by threads; a value for each round.
        self.cpu, self.rate = {1: [], 2: []}, {1: [], 2: []}
        # The first thread's part of what both have used, one for each round.
        self.share = []

    def measure(self, binary, nodes, folder, rounds, seconds):
        running = []
        try:
            for threads in (1, 2):
                size = Size(self.conf, threads=threads)
                one = Balancer(binary, size, nodes, f"{folder}/threads-{self.conf}-{threads}", level="warn,carbon_elb::app=info")
                running.append(one)
                self.sockets[threads] = listening_sockets(one.port)
                generators.closed_loop(one, 1, None)
            for number in range(rounds):
                for one in running if number % 2 else reversed(running):
                    self.turn(one, seconds)
        finally:
            for one in running:
                one.end()

    def turn(self, one, seconds):
        serving, threads = one.threads(), one.size.threads
        before, by_thread = processor_time(one.pid)[0], [thread_time(one.pid, thread) for thread in serving]
        load = generators.closed_loop(one, seconds, None)
        spent = processor_time(one.pid)[0] - before
        self.failures += load.failures
        if not load.requests:
            raise Failed("no request was answered")
        self.cpu[threads].append(spent / load.requests * 1e6)
        self.rate[threads].append(load.requests / load.seconds)
        if threads == 2:
            used = [thread_time(one.pid, thread) - then for thread, then in zip(serving, by_thread)]
            self.share.append(used[0] / sum(used))


def thread_time(pid, thread):
    """Seconds of processor time that a thread has used."""
    with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
        return int(stat.read().split()[0]) / 1e9


def memory(binary, conf, nodes, folder, count):
    """Bytes of resident memory for each of so many connections, step by step, as (what was done, bytes)."""
    steps = []
    with Balancer(binary, Size(conf), nodes, folder, level="warn,carbon_elb::app=info") as balancer:
        with Client(balancer.port) as client:
            for _ in range(WARM_UP):
                client.ask()
            files, before = balancer.files(), resident(balancer.pid)

            def step(what):
                # Whatever came before on the same thread is done when this is.
                client.ask()
                steps.append((what, (resident(balancer.pid) - before) / count))
            held = connections(balancer.port, count)
            try:
                wait_for_files(balancer, files + count)
                step("accepted, nothing received")
                for one in held:
                    one.ask()
                step("idle after one request, one connection after the other")
                for first in range(0, count, TOGETHER):
                    ask_together(held[first:first + TOGETHER])
                step(f"idle after another request, {TOGETHER:,} at the same time")
            finally:
                for one in held:
                    one.stream.close()
            wait_for_files(balancer, files + TOGETHER, fewer=True)
            step("closed: what the allocator keeps for the next ones")
    return steps


def wait_for_files(balancer, count, fewer=False, patience=60):
    """Waits until the process has at least (or at most) so many files open."""
    until = time.monotonic() + patience
    while (balancer.files() > count) if fewer else (balancer.files() < count):
        if time.monotonic() > until:
            raise Failed(f"carbon-elb has {balancer.files()} files open, not {count}")
        # It is the balancer that is waited for, which tells nobody.
        time.sleep(0.01)
