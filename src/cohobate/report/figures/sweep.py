"""The figure of a sweep: the headline metric over an option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from ..tables.sweep import Row, Sweep, is_number
from ..tables.text import sentence, spelled
from .chart import INK, PALETTE, SIZE, Chart, Figure, our_style
from .lettering import inches

WIDE = 20
"""Positive values that span a larger factor stand on a logarithmic axis."""

CURVE, GREEN, OTHERS = PALETTE[0], PALETTE[2], (PALETTE[1], *PALETTE[3:])
GAP = 0.12
"""Inches between the labels of two values."""


def places(values: Sequence[Any]) -> tuple[str, list[float]]:
    """The kind of horizontal axis and where each value stands on it.

    "log" where all are numbers, none is negative, and the positive ones span more than a factor of
    :data:`WIDE`: a zero then stands apart, one step left of the smallest; "linear" for other numbers;
    "words" one after the other for the rest.
    """
    if not all(map(is_number, values)):
        return "words", [float(i) for i in range(len(values))]
    positive = [value for value in values if value > 0]
    if min(values) < 0 or not positive or max(positive) <= WIDE * min(positive):
        return "linear", [float(value) for value in values]
    logs = sorted({math.log10(value) for value in positive})
    step = (logs[-1] - logs[0]) / max(1, len(logs) - 1)
    return "log", [math.log10(value) if value > 0 else logs[0] - step for value in values]


def figure(sweep: Sweep) -> Figure:
    """The drawing, and what its marks mean."""
    caption = "Bars: one sample standard deviation. Faint: a run. Dashed: a method beside."
    return Figure(draw(sweep), caption, "sweep")


def draw(sweep: Sweep) -> str:
    """The headline metric over the option, as SVG.

    Mean over the seeds, bars of one sample standard deviation, a faint point a run; dashed lines for the
    methods without the option; a green dot for the marked value; a cross at the upper edge where a run
    diverged.
    """
    metric = sweep.metric
    kind, xs = places([row.value for row in sweep.rows])
    with our_style(f"sweep {sweep.label} {sweep.option}"):
        chart = Chart(f"{sweep.split} {metric.title}{spelled(metric)}")
        _curve(chart, sweep, kind, xs)
        for row, colour in zip(sweep.beside, cycle(OTHERS), strict=False):
            _beside(chart, sweep, row, colour)
        _mark(chart, sweep, xs)
        _crosses(chart, sweep, xs)
        if not any(row.measured(sweep.split) for row in (*sweep.rows, *sweep.beside)):
            chart.axes.set_yticks([])
        _horizontal(chart, sweep, kind, xs)
        return chart.svg(f"{sentence(metric.title)} of {sweep.label} over {sweep.option}")


def _horizontal(chart: Chart, sweep: Sweep, kind: str, xs: Sequence[float]) -> None:
    axes = chart.axes
    axes.set_xlabel(f"{sweep.option}, logarithmic" if kind == "log" else sweep.option, parse_math=False)
    span = max(xs) - min(xs) or 1.0
    margin = 0.06 if kind != "words" else 0.5 / len(xs)
    axes.set_xlim(min(xs) - margin * span, max(xs) + margin * span)
    names = [row.name for row in sweep.rows]
    axes.set_xticks(xs, names, parse_math=False)
    chart.figure.draw_without_rendering()
    length = axes.get_window_extent().width / chart.figure.dpi
    centres = [x * length / (span * (1 + 2 * margin)) for x in xs]
    lines = _lines(names, centres, None if sweep.marked is None else sweep.marked[0])
    below = {0: "", 1: "\n"}
    texts = [below[line] + name if line in below else "" for name, line in zip(names, lines, strict=True)]
    axes.set_xticks(xs, texts, parse_math=False)


def _lines(names: Sequence[str], centres: Sequence[float], first: str | None) -> list[int | None]:
    """The line below the axis on which each label has room, 0 or 1; None: it has none on either.

    The marked one comes first, then both ends, then the rest from left to right. Centres are in inches.
    """
    half = [inches(name, SIZE) / 2 for name in names]
    taken: dict[int, int] = {}
    ends = (0, len(names) - 1)
    for i in sorted(range(len(names)), key=lambda i: (names[i] != first, i not in ends, i)):
        for line in (0, 1):
            near = [j for j, other in taken.items() if other == line]
            if all(abs(centres[i] - centres[j]) >= half[i] + half[j] + GAP for j in near):
                taken[i] = line
                break
    return [taken.get(i) for i in range(len(names))]


def _curve(chart: Chart, sweep: Sweep, kind: str, xs: Sequence[float]) -> None:
    stats = {x: row.stat(sweep.split) for x, row in zip(xs, sweep.rows, strict=True)}
    known = {x: stat for x, stat in stats.items() if stat is not None}
    if not known:
        return
    zero = kind == "log" and sweep.rows[0].value == 0
    alone = [x for x in known if zero and x == xs[0]]
    joined = [x for x in xs if x not in alone]
    means = [known[x].mean if x in known else math.nan for x in joined]  # NaN is a gap: every run diverged
    style: dict[str, Any] = {"color": CURVE, "linewidth": 1.9, "marker": "o", "markersize": 5, "zorder": 3}
    dashes = "" if kind == "words" else "-"
    (line,) = chart.axes.plot(joined, means, linestyle=dashes, **style)
    chart.axes.plot(alone, [known[x].mean for x in alone], **style)
    spread = {x: stat for x, stat in known.items() if stat.std is not None}
    middles = [stat.mean for stat in spread.values()]
    bars = [stat.std or 0.0 for stat in spread.values()]
    caps: dict[str, Any] = {"fmt": "none", "capsize": 3, "ecolor": CURVE, "elinewidth": 1.1}
    chart.axes.errorbar(list(spread), middles, yerr=bars, **caps)
    for x, row in zip(xs, sweep.rows, strict=True):
        values = row.measured(sweep.split)
        if len(values) > 1:
            chart.axes.plot([x] * len(values), values, "o", color=CURVE, alpha=0.3, markersize=3.5, mew=0)
    if zero:
        chart.axes.axvline((xs[0] + xs[1]) / 2, color=INK, linewidth=0.7, linestyle=":")
    most = max(stat.n for stat in known.values())
    name = f"{sweep.label}, mean of {most} ± std" if most > 1 else sweep.label
    chart.legend.append((name, line))


def _beside(chart: Chart, sweep: Sweep, row: Row, colour: str) -> None:
    stat = row.stat(sweep.split)
    if stat is None:
        return
    line = chart.axes.axhline(stat.mean, color=colour, linestyle="--", linewidth=1.5, zorder=1)
    chart.legend.append((f"{row.name}, mean of {stat.n}" if stat.n > 1 else row.name, line))


def _mark(chart: Chart, sweep: Sweep, xs: Sequence[float]) -> None:
    for x, row in zip(xs, sweep.rows, strict=True):
        stat = row.stat(sweep.split)
        if sweep.marked is not None and row.name == sweep.marked[0] and stat is not None:
            (dot,) = chart.axes.plot([x], [stat.mean], "o", color=GREEN, markersize=9, zorder=4)
            chart.legend.append((f"{sweep.option} {row.name}, {sweep.marked[1]}", dot))


def _crosses(chart: Chart, sweep: Sweep, xs: Sequence[float]) -> None:
    where = [x for x, row in zip(xs, sweep.rows, strict=True) if row.diverged]
    if where:
        upper = chart.axes.get_xaxis_transform()
        style: dict[str, Any] = {"color": INK, "markersize": 8, "mew": 1.8, "clip_on": False}
        (cross,) = chart.axes.plot(where, [1.0] * len(where), "x", transform=upper, **style)
        chart.legend.append(("diverged", cross))
