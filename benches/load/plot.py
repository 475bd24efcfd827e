"""The ratios as a picture: plain SVG, on a logarithmic scale."""

from html import escape
from math import log2

from report import BASE, ratio

COLOURS = ["#1f6feb", "#d97706", "#2f9e44", "#9c36b5", "#c92a2a", "#0b7285", "#868e96"]
LEFT, WIDTH, ROW, TOP = 190, 560, 16, 64


def plot(all_figures, peers):
    """An SVG with, for each scenario, CPU time (dot with its interval) and user instructions (diamond) of each peer."""
    peers = [name for name in peers if name != BASE]
    rows = [(figures, name, ratio(figures, "cpu", name), ratio(figures, "instructions", name))
            for figures in all_figures for name in peers]
    rows = [row for row in rows if row[2] or row[3]]
    limits = [value for _, _, *both in rows for found in both if found for value in found if value > 0] + [0.5, 2]
    low, high = log2(min(limits)) - 0.1, log2(max(limits)) + 0.1

    def x(value):
        return LEFT + (log2(max(value, 1e-9)) - low) / (high - low) * WIDTH

    height = TOP + ROW * (len(rows) + len(all_figures)) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" height="{height}" font-family="sans-serif" '
           'font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="20" font-size="14">Relative to HAProxy (less is better): ● CPU time, ◆ user instructions</text>']
    out += [f'<text x="{10 + 110 * number}" y="40" fill="{colour(peers, name)}">■ {escape(name)}</text>'
            for number, name in enumerate(peers)]
    for tick in (0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 16, 32):
        if low <= log2(tick) <= high:
            stroke = "#000" if tick == 1 else "#ddd"
            out += [f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 8}" y2="{height - 26}" stroke="{stroke}"/>',
                    f'<text x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle">{tick:g}×</text>']
    y, last = TOP, None
    for figures, name, cpu, instructions in rows:
        if figures is not last:
            y, last = y + ROW // 2, figures
            out.append(f'<text x="10" y="{y + 4}">{escape(figures.scenario.name)}</text>')
        out += marks(x, y, colour(peers, name), cpu, instructions)
        y += ROW
    return "\n".join([*out, "</svg>"]) + "\n"


def colour(peers, name):
    return COLOURS[peers.index(name) % len(COLOURS)]


def marks(x, y, fill, cpu, instructions):
    """The marks of one peer in one scenario."""
    out = []
    if cpu:
        middle, low, high = cpu
        out += [f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}" stroke="{fill}" stroke-width="2"/>',
                f'<circle cx="{x(middle):.1f}" cy="{y}" r="4" fill="{fill}"/>']
    if instructions:
        at = x(instructions[0])
        out.append(f'<path d="M{at:.1f} {y - 5}l5 5l-5 5l-5 -5z" fill="none" stroke="{fill}" stroke-width="1.5"/>')
    return out
