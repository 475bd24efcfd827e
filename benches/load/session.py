"""One scenario from beginning to end: starts everything, measures in alternating rounds, and returns the figures."""

import os
import shutil
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median

import generators
import measure
from backend import Backend, make_certificate
from peers import Running, takes_part
from processes import Failed, end, find
from stats import paired


@dataclass
class Options:
    """How much is measured."""

    rounds: int
    seconds: int
    count: bool = True
    memory: bool = True
    open_loop: bool = True


@dataclass
class Figures:
    """What was found out about one scenario. Values by measure and peer: a list, one value for each round."""

    scenario: object
    values: dict = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    # Why figures of a peer do not count, by peer.
    invalid: dict = field(default_factory=lambda: defaultdict(list))
    notes: list = field(default_factory=list)
    # Peers that have no further turn.
    broken: set = field(default_factory=set)

    def add(self, measure_name, peer, value):
        self.values[measure_name][peer].append(value)


class Setting:
    """What all balancers of a scenario share: back end, certificate, processors, a folder that is removed at the end."""

    def __init__(self, scenario, cpus, files):
        self.folder = tempfile.mkdtemp(prefix="carbon-elb-load-")
        # Workers of nginx that root started are nobody's.
        os.chmod(self.folder, 0o755)
        self.files, (self.proxy_cpus, self.other_cpus) = files, cpus
        self.backend = None
        try:
            self.certificate = make_certificate(self.folder)
            self.backend = Backend(f"{self.folder}/backend", scenario.members, self.other_cpus, files)
        except BaseException:
            self.close()
            raise

    def held(self, wanted, what, figures):
        """How many connections can be held of those wanted; if not all, a note says so.

        Each takes a file at both ends, and carbon-elb keeps a part of its files for connections to nodes.
        """
        most = (self.files - 2000) // 2
        if wanted > most:
            figures.notes.append(f"{what} with {most} of them: the limit on open files is {self.files}")
        return min(wanted, most)

    def close(self):
        if self.backend:
            end(self.backend.child)
        shutil.rmtree(self.folder, ignore_errors=True)


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure_scenario(scenario, found, options, cpus, files):
    """All figures of a scenario for the peers `found`, [(peer, path)]."""
    figures = Figures(scenario)
    for peer, _ in found:
        if scenario.name in peer.unfit and not peer.only:
            figures.notes.append(f"{peer.name} has no configuration for this scenario")
    found = [(peer, path) for peer, path in found if takes_part(peer, scenario)]
    setting = Setting(scenario, cpus, files)
    try:
        under_load(scenario, found, options, setting, figures)
        if options.memory and scenario.memory:
            memory_of_connections(scenario, found, setting, figures)
        if options.count and scenario.counts:
            counts(scenario, found, setting, figures)
    finally:
        setting.close()
    return figures


def under_load(scenario, found, options, setting, figures):
    """Paired rounds: in each, every peer has its turn, in the same order."""
    running, held, undisturbed = started(scenario, found, setting, figures, ""), [], []
    try:
        if scenario.idle:
            undisturbed = started(scenario, found, setting, figures, "-undisturbed")
            idle = setting.held(scenario.idle, "idle connections", figures)
            held = [generators.Held(one, idle, "/services/Echo", setting.other_cpus) for one in running]
        for one in running + undisturbed:
            attempt(figures, one, lambda one=one: generators.closed_loop(one, 1, setting.other_cpus))
        for number in range(options.rounds):
            for one in running:
                if one.peer.name not in figures.broken:
                    attempt(figures, one, lambda one=one: turn(one, options.seconds, setting, figures))
            for one in undisturbed:
                attempt(figures, one, lambda one=one: undisturbed_turn(one, options.seconds, setting, figures))
            say(f"  round {number + 1} of {options.rounds}")
        figures.notes += [disturbance(figures, one.peer.name) for one in undisturbed]
        if options.open_loop and scenario.open_loop:
            open_loop(running, options, setting, figures)
    finally:
        for one in [*held]:
            one.release()
        for one in running + undisturbed:
            one.end()


def started(scenario, found, setting, figures, suffix):
    """The balancers that could be started, each in a folder of its own."""
    running = []
    for peer, path in found:
        try:
            folder = f"{setting.folder}/{peer.name}{suffix}"
            running.append(Running(peer, path, scenario, setting, folder, cpus=setting.proxy_cpus))
        except Failed as problem:
            figures.invalid[peer.name].append(str(problem))
            say(f"  {problem}")
    return running


def undisturbed_turn(one, seconds, setting, figures):
    """A turn of a balancer that holds no idle connections."""
    load = generators.closed_loop(one, seconds, setting.other_cpus)
    for share in ("p50", "p99"):
        figures.add(f"undisturbed-{share}", one.peer.name, None if load.failures else getattr(load, share))


def disturbance(figures, name):
    """What the idle connections do to the latency of the busy ones, in words."""
    parts = []
    for share in ("p50", "p99"):
        found = paired(figures.values[share].get(name, []), figures.values[f"undisturbed-{share}"].get(name, []))
        parts.append(f"{share} {found[0]:.3f} [{found[1]:.3f}–{found[2]:.3f}]" if found else f"{share} not measured")
    return f"{name}, latency of the busy connections with the idle ones ÷ without: {', '.join(parts)}"


def attempt(figures, one, load):
    """Puts a load on a balancer. One that breaks makes its own figures invalid, and has no further turn."""
    try:
        load()
    except (Failed, OSError) as problem:
        figures.invalid[one.peer.name].append(str(problem))
        figures.broken.add(one.peer.name)
        say(f"  {one.peer.name}: {problem}")


def turn(one, seconds, setting, figures):
    """One peer's turn in a round."""
    name, scenario = one.peer.name, one.scenario
    before = measure.processor_time(one.pid)
    load = generators.closed_loop(one, seconds, setting.other_cpus)
    total, user, system = measure.spent(before, measure.processor_time(one.pid))
    if load.failures or not load.requests:
        figures.invalid[name].append(f"{load.failures} failures in {load.requests} requests")
        say(f"  {name}: {figures.invalid[name][-1]}")
    per = load.bytes / 1e6 if scenario.unit == "MB" else load.requests
    if per:
        figures.add("cpu", name, total / per * 1e6)
        figures.add("user", name, user / per * 1e6)
        figures.add("system", name, system / per * 1e6)
    figures.add("rate", name, per / load.seconds)
    if scenario.unit == "request":
        for share in ("p50", "p99", "p999"):
            figures.add(share, name, getattr(load, share))


def open_loop(running, options, setting, figures):
    """Latency at half of what the slowest of them could take, the same for all."""
    if not find("oha"):
        figures.notes.append("oha is not installed (cargo install --locked oha): latencies are those of the closed loop only")
        return
    # Who takes part in some scenarios only does not set the pace, and would not keep it.
    running = [one for one in running if not one.peer.only and one.peer.name not in figures.broken]
    if not running:
        return
    rate = int(min(median(figures.values["rate"][one.peer.name]) for one in running) / 2)
    figures.notes.append(f"open loop: {rate} requests/s, half of what the slowest peer took in the closed loop")
    for _ in range(max(2, options.rounds // 2)):
        for one in running:
            load = generators.open_loop(one, rate, options.seconds, setting.other_cpus)
            if load.failures:
                figures.invalid[one.peer.name].append(f"{load.failures} failures in {load.requests} requests of the open loop")
            for share in ("p50", "p99", "p999"):
                figures.add(f"open-{share}", one.peer.name, getattr(load, share))


def memory_of_connections(scenario, found, setting, figures):
    """Resident memory for each idle and each busy connection."""
    for kind, count in (("idle", scenario.memory), ("busy", min(scenario.memory, 1000))):
        count = setting.held(count, f"memory of {kind} connections", figures)
        for peer, path in found:
            try:
                each = measure.memory(peer, path, scenario, setting, f"{setting.folder}/{peer.name}-{kind}", count, kind == "busy")
                figures.add(f"{kind}-memory", peer.name, each)
            except Failed as problem:
                failed(figures, peer, f"memory of {kind} connections", problem)
    say("  memory")


def counts(scenario, found, setting, figures):
    """Instructions and system calls, where the tools are. Of two balancers at a time: how busy the machine is does not matter."""
    for tool, what, count in (("valgrind", "instructions", count_instructions), ("strace", "system calls", count_calls)):
        if not find(tool):
            figures.notes.append(f"{tool} is not installed: {what} were not counted")
            continue

        def one(peer_and_path, what=what, count=count):
            peer, path = peer_and_path
            try:
                count(peer, path, scenario, setting, figures)
            except Failed as problem:
                failed(figures, peer, what, problem)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, found))
        say(f"  {what}")


def count_instructions(peer, path, scenario, setting, figures):
    """User instructions of a request to one balancer."""
    if peer.uncounted:
        figures.notes.append(f"{peer.name}: instructions not counted: {peer.uncounted}")
        return
    figures.add("instructions", peer.name, measure.instructions(peer, path, scenario, setting, f"{setting.folder}/{peer.name}"))


def count_calls(peer, path, scenario, setting, figures):
    """System calls of a request to one balancer."""
    calls, by_name = measure.system_calls(peer, path, scenario, setting, f"{setting.folder}/{peer.name}")
    figures.notes.append(f"{peer.name}, system calls a request: " + ", ".join(f"{name} {number}" for name, number in by_name.items()))
    for group, number in calls.items():
        figures.add(f"calls-{group}", peer.name, number)


def failed(figures, peer, what, problem):
    """Notes that something could not be measured."""
    figures.notes.append(f"{peer.name}: {what} not measured: {problem}")
    say(f"  {figures.notes[-1]}")
