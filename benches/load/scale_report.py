"""benches/SCALE-COST.md and its picture: tables, curves, and what they say, in sentences that are computed."""

from html import escape
from math import log10
from statistics import median

from stats import interval, paired

# What is told to be flat grows at most so much from the first to the last.
FLAT = 1.10
# Targets: processor time with two threads against one; each thread's part of the work; bytes for an idle connection.
THREADS_TARGET, SHARE_TARGET, MEMORY_TARGET = 1.05, (0.45, 0.55), 12_000


def verdict(points):
    """Whether the second of each point grows with the first, in a sentence."""
    (first, base), (last, top) = points[0], points[-1]
    ratio = top / base
    against = f"with {last:,} a request costs {ratio:.2f} times what it costs with {first:,}"
    if ratio <= FLAT:
        return f"Flat: {against}."
    step = slope(points)
    return (f"Grows: {against}. For each ten times as many that is {step:,.0f} instructions more, "
            f"{step / base:.1%} of those with {first:,}.")


def slope(points):
    """By how much the second grows for each ten times of the first: the straight line with the least squares."""
    xs, ys = [log10(x) for x, _ in points], [y for _, y in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


def table(head, rows):
    """Markdown; all but the first column are figures."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def axis_part(axis):
    """What was counted along an axis."""
    base = axis.points[0][1]
    rows = [(f"{count:,}", f"{instructions:,.0f}", f"{instructions / base:.2f}",
             *(f"{calls[group]:.2f}" for group in ("all", "receives", "sends", "waits")))
            for count, instructions, calls in axis.points]
    return (f"### {axis.title[0].upper()}{axis.title[1:]}\n\n"
            + table(["how many", "user instructions", "÷ first", "system calls", "receive", "send", "wait"], rows)
            + "\n" + verdict([(count, instructions) for count, instructions, _ in axis.points]) + "\n")


def starts_part(found):
    """Starts and reloads; `found` by members."""
    names = {"start": "start, until the first answer", "reload": "reload that changes one node's weight",
             "same": "reload of the same file"}
    rows = [(name, f"{members:,}", f"{values[what][0] * 1e3:,.0f}", f"{values[what][1] * 1e3:,.0f}")
            for what, name in names.items() for members, values in found.items()]
    rest = [(f"{members:,}", f"{values['memory'][0] / 1e6:.1f}") for members, values in found.items()]
    return (table(["", "members", "wall time, ms", "CPU time, ms"], rows) + "\nCPU time is that of the whole process, until it "
            "comes to rest.\n\n" + table(["members", "resident memory after the start, MB"], rest))


def threads_part(all_threads):
    """Two threads against one."""
    rows, lines = [], []
    for one in all_threads:
        middle, low, high = paired(one.cpu[2], one.cpu[1])
        share, (least, most) = median(one.share), interval(one.share)
        mean = sum(one.share) / len(one.share)
        rows.append((one.conf, f"{median(one.cpu[1]):.1f}", f"{median(one.cpu[2]):.1f}", f"{middle:.3f} [{low:.3f}–{high:.3f}]",
                     f"{median(one.rate[1]):,.0f}", f"{median(one.rate[2]):,.0f}", f"{share:.1%} [{least:.1%}–{most:.1%}]",
                     f"{one.sockets[1]}, {one.sockets[2]}"))
        reached = "reached" if high <= THREADS_TARGET else "missed" if low > THREADS_TARGET else "not decided by this interval"
        within = "within" if SHARE_TARGET[0] <= mean <= SHARE_TARGET[1] else "outside"
        outside = sum(not SHARE_TARGET[0] <= value <= SHARE_TARGET[1] for value in one.share)
        lines.append(f"{one.conf}: a request costs two threads {middle:.3f} times what it costs one (target: at most "
                     f"{THREADS_TARGET}: {reached}). The first thread does {mean:.1%} of the work in the mean over all rounds, "
                     f"{within} {SHARE_TARGET[0]:.0%} to {SHARE_TARGET[1]:.0%}; in {outside} of {len(one.share)} rounds it is "
                     f"outside. {one.failures} failures.")
    head = ["", "CPU, 1 thread, µs", "CPU, 2 threads, µs", "ratio", "requests/s, 1", "requests/s, 2", "first thread's part",
            "listening sockets"]
    return table(head, rows) + "\n" + "\n\n".join(lines) + "\n"


def memory_part(found, count):
    """Memory of connections; `found` is [steps] by configuration, one of these for each time it was measured."""
    rows = []
    for conf, times in found.items():
        for steps in zip(*times):
            values = [value for _, value in steps]
            rows.append((conf, steps[0][0], f"{median(values):,.0f}", f"{min(values):,.0f}–{max(values):,.0f}"))
    idle = {conf: median(steps[1][1] for steps in times) for conf, times in found.items()}
    said = "; ".join(f"{conf} {value:,.0f} bytes, {'reached' if value <= MEMORY_TARGET else 'missed'}"
                     for conf, value in idle.items())
    return (table(["", f"each of {count:,} connections", "bytes", "all times"], rows)
            + f"\nTarget for an idle connection after its first request: {MEMORY_TARGET:,} bytes: {said}.\n")


INTRODUCTION = """# What carbon-elb costs when there is much of everything

Written by `make bench-scale`. Costs of a request are user instructions and system calls of the thread that serves it, counted
under callgrind and strace: they hardly depend on the machine. One client asks over one connection; each node has an idle
connection by then, each tenant was seen, and what is asked for is chosen at random among all that there is. The configuration is
benches/load/conf/carbon-elb-bare.yaml, with more of one thing at a time and health checks off.
"""

ON_THREADS = """Closed loop, 64 connections, in turns. Balancers, nodes and load generator share the same {cpus} processors: requests
in a second say what is left of those for the balancer, and only the CPU time of a request says what a second thread costs. A
thread's part is its part of the CPU time of both. The kernel spreads connections over the listening sockets by a hash; of 64
independent ones, half of all rounds would put more than 4.2 % too many or too few on one thread by chance alone.
"""


def document(axes, starts, threads, memory, count, rows, cpus):
    """The whole text."""
    parts = [INTRODUCTION, "| | |\n| --- | --- |\n" + "".join(f"| {what} | {which} |\n" for what, which in rows)]
    if axes:
        parts += ["## A request\n\n![Instructions of a request](SCALE-COST.svg)\n", *map(axis_part, axes)]
    if starts:
        parts += ["## Start and reload\n", starts_part(starts)]
    if threads:
        parts += ["## Two threads against one\n", ON_THREADS.format(cpus=cpus), threads_part(threads)]
    if memory:
        parts += ["## Memory of connections\n", memory_part(memory, count)]
    return "\n".join(parts)


PANEL, HIGH, MARGIN, ACROSS = 260, 150, 60, 3


def plot(axes):
    """A picture: for each axis how many instructions a request costs, from zero, with how many on a logarithmic scale."""
    down = -(-len(axes) // ACROSS)
    width, height = ACROSS * (PANEL + MARGIN) + 20, down * (HIGH + 90) + 10
    top = max(point[1] for axis in axes for point in axis.points) * 1.1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>']
    for number, axis in enumerate(axes):
        out += panel(axis, MARGIN + number % ACROSS * (PANEL + MARGIN), 40 + number // ACROSS * (HIGH + 90), top)
    return "\n".join([*out, "</svg>"]) + "\n"


def panel(axis, left, up, top):
    """The curve of one axis in a frame."""
    decades = max(log10(axis.points[-1][0]), 1)

    def place(count, value):
        return left + 10 + log10(count) / decades * (PANEL - 20), up + HIGH - value / top * HIGH

    out = [f'<text x="{left}" y="{up - 12}" font-size="13">{escape(axis.title)}</text>',
           f'<rect x="{left}" y="{up}" width="{PANEL}" height="{HIGH}" fill="none" stroke="#999"/>']
    step = 10 ** int(log10(top))
    for value in range(0, int(top) + 1, step if top / step > 2 else step // 4 or 1):
        y = place(1, value)[1]
        out += [f'<line x1="{left}" x2="{left + PANEL}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>',
                f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>']
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(count, value) for count, value, _ in axis.points))
    out.append(f'<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="2"/>')
    for count, value, _ in axis.points:
        x, y = place(count, value)
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f6feb"/>',
                f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle" font-size="10">{value:,.0f}</text>',
                f'<text x="{x:.1f}" y="{up + HIGH + 16}" text-anchor="middle">{count:,}</text>']
    return out
