"""Tables of the figures: HAProxy's as they are, everybody else's as ratios to them. Without HAProxy carbon-elb is in its place."""

import os
import platform
import subprocess
import time
from statistics import median

from peers import BY_NAME, version
from processes import find, run
from stats import paired

BASE, OURS = "haproxy", "carbon-elb"
# How many times fewer instructions than other balancers on Pingora carbon-elb is to need, and in which scenarios.
GOAL, GOAL_IN = 1.5, ("bare", "ordinary")

# (measure, what it is called, its unit, format). Less is better, but for rates.
MEASURES = [
    ("cpu", "CPU", "µs", "{:.1f}"),
    ("user", "CPU, user", "µs", "{:.1f}"),
    ("system", "CPU, system", "µs", "{:.1f}"),
    ("instructions", "user instructions", "", "{:,.0f}"),
    ("calls-all", "system calls", "", "{:.2f}"),
    ("calls-receives", "system calls that receive", "", "{:.2f}"),
    ("calls-sends", "system calls that send", "", "{:.2f}"),
    ("calls-waits", "system calls that wait", "", "{:.2f}"),
    ("rate", "throughput (more is better)", "/s", "{:,.0f}"),
    ("p50", "latency p50, closed loop", "µs", "{:,.0f}"),
    ("p99", "latency p99, closed loop", "µs", "{:,.0f}"),
    ("p999", "latency p99.9, closed loop", "µs", "{:,.0f}"),
    ("open-p50", "latency p50, open loop", "µs", "{:,.0f}"),
    ("open-p99", "latency p99, open loop", "µs", "{:,.0f}"),
    ("open-p999", "latency p99.9, open loop", "µs", "{:,.0f}"),
    ("idle-memory", "memory of an idle connection", "B", "{:,.0f}"),
    ("busy-memory", "memory of a busy connection", "B", "{:,.0f}"),
]
# What does not depend on answers being good under load.
COUNTED = ("instructions", "calls-", "idle-memory", "busy-memory")


def unit_of(measure, unit, scenario):
    """The unit with what it is for."""
    if measure == "rate":
        return "MB/s" if scenario.unit == "MB" else "requests/s"
    if measure in ("cpu", "user", "system"):
        return f"{unit} a {scenario.unit}"
    if measure == "instructions" or measure.startswith("calls-"):
        return "a request"
    return unit


def base(figures):
    """Whom the others are compared with: HAProxy, or carbon-elb where that has no turn."""
    return BASE if any(BASE in values for values in figures.values.values()) else OURS


def ratio(figures, measure, peer):
    """(median, low, high) of a peer's ratio to the base, or None; None too if failures make it invalid."""
    whom = base(figures)
    counted = measure.startswith(COUNTED)
    if not counted and (figures.invalid.get(peer) or figures.invalid.get(whom)):
        return None
    values = figures.values[measure]
    return paired(values.get(peer, []), values.get(whom, []))


def cell(figures, measure, peer, form):
    """What the table says of a peer."""
    values = [value for value in figures.values[measure].get(peer, []) if value is not None]
    if not measure.startswith(COUNTED) and figures.invalid.get(peer):
        return "invalid"
    if not values:
        return "–"
    if peer == base(figures):
        return form.format(median(values))
    found = ratio(figures, measure, peer)
    if not found:
        return form.format(median(values)) + " (no ratio)"
    middle, low, high = found
    return f"{middle:.2f}" if len(values) == 1 else f"{middle:.2f} [{low:.2f}–{high:.2f}]"


def table(figures, peers):
    """One scenario in Markdown, with a column for each of the peers that took part in it."""
    scenario = figures.scenario
    peers = [name for name in peers if any(name in values for values in figures.values.values())]
    whom = base(figures)
    peers = sorted(peers, key=lambda name: name != whom)
    lines = [f"### {scenario.name}: {scenario.title}", "",
             "| " + " | ".join(["", "unit"] + [name if name == whom else f"{name} ÷ {whom}" for name in peers]) + " |",
             "| --- | --- |" + " ---: |" * len(peers)]
    for measure, title, unit, form in MEASURES:
        if figures.values.get(measure):
            cells = [cell(figures, measure, name, form) for name in peers]
            lines.append("| " + " | ".join([title, unit_of(measure, unit, scenario), *cells]) + " |")
    for name, reasons in figures.invalid.items():
        lines += ["", f"**{name} is invalid here**: {'; '.join(sorted(set(reasons)))[:400]}."]
    lines += [line for note in figures.notes for line in ("", f"{note[:1].upper()}{note[1:]}.")]
    return "\n".join(lines) + "\n"


def against_pingora(all_figures):
    """For each other balancer that is built on Pingora, a sentence with its instructions for a request ÷ carbon-elb's."""
    sentences = []
    for name in (peer.name for peer in BY_NAME.values() if peer.pingora):
        ratios = []
        for figures in all_figures:
            counted = figures.values.get("instructions", {})
            found = paired(counted.get(name, []), counted.get(OURS, []))
            if found and figures.scenario.name in GOAL_IN:
                ratios.append(f"{found[0]:.2f} ({'reached' if found[0] >= GOAL else 'missed'}) in {figures.scenario.name}")
        if ratios:
            sentences.append(f"User instructions of {name}, built on Pingora too, divided by carbon-elb's (goal: at least {GOAL}): "
                             + ", ".join(ratios) + ".")
    return sentences


def versions(found, root):
    """What the figures were measured with, as rows of (what, which)."""
    def first_line(program, *arguments):
        path = find(program)
        if not path:
            return "not installed"
        _, out, errors = run([path, *arguments], 20)
        return ((out + errors).strip().splitlines() or ["unknown"])[0]

    git = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True,
                         check=False, timeout=20).stdout.strip()
    rows = [("date", time.strftime("%Y-%m-%d")), ("kernel", f"{platform.system()} {platform.release()} {platform.machine()}"),
            ("processor", f"{processor()}, {len(os.sched_getaffinity(0))} usable"), ("carbon-elb commit", git or "unknown")]
    rows += [(peer.name, version(peer, path)) for peer, path in found]
    # Builds of one version differ: a release build, one with a profile.
    rows += [(f"{peer.name}'s file", os.path.relpath(path, root)) for peer, path in found if peer.program == OURS]
    rows += [("wrk", first_line("wrk", "-v")), ("h2load", first_line("h2load", "--version")), ("oha", first_line("oha", "--version")),
             ("valgrind", first_line("valgrind", "--version")), ("strace", first_line("strace", "-V")),
             ("back end", first_line("nginx", "-v"))]
    return rows


def processor():
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith(("model name", "Hardware")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def document(all_figures, peers, rows, how):
    """benches/RESULTS.md."""
    parts = [
        "# Measured against other balancers", "",
        "Written by `make bench`; README.md (*How fast is it*) says how to read it. HAProxy's column holds its own figures, the "
        "others hold ratios to it: 1.00 is as HAProxy, 2.00 is twice as much. A ratio is the median of the ratios of rounds in "
        "which both had their turn one after the other, with an interval in which the true median lies with 95% (from six "
        "rounds on; with fewer: the extremes). Instructions, system calls and memory are measured once; "
        "instructions of pingap, which does more than its requests at times, three times.", "",
        *[line for sentence in against_pingora(all_figures) for line in (sentence, "")],
        "![CPU time and instructions, relative to HAProxy](RESULTS.svg)", "", how, "",
        "| | |", "| --- | --- |", *[f"| {what} | {which} |" for what, which in rows], "",
    ]
    return "\n".join(parts) + "\n" + "\n".join(table(figures, peers) for figures in all_figures)
