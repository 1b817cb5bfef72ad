"""Sample-adaptive inference: accuracy against cost, and what res-students cost less (ResKD, figure 3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...runs.adaptive import Adaptive, TradeOff
from ...runs.reading import Run
from ..tables.adaptive import threshold_text
from .chart import PALETTE, Chart, Figure, our_style

MEASURED, ON_DV, TEACHER, CHOSEN = PALETTE[0], PALETTE[5], PALETTE[6], PALETTE[2]
MARKS = {"teacher": "^", "adaptive": "o"}
FAR = 2.5
"""A teacher that costs so many times the sum has a logarithmic axis."""


def figures(run: Run) -> Iterator[Figure]:
    """Both, once ``cohobate evaluate --adaptive`` has measured them."""
    if run.adaptive is not None:
        yield Figure(
            trade_off(run, run.adaptive),
            "Sample-adaptive inference: accuracy against the mean cost of an image, over all thresholds",
        )
        yield Figure(
            cost_saved(run, run.adaptive),
            "Share of the res-students' multiply-accumulates that a threshold saves (ResKD, figure 3)",
        )


def trade_off(run: Run, adaptive: Adaptive) -> str:
    """Accuracy over the mean cost of an image, as SVG.

    A line over all thresholds on the images measured, a dashed one on D_v; marks for every network.
    """
    with our_style(f"trade-off {run.folder.name}"):
        chart = Chart("accuracy, percent")
        for curve, name, colour, dashes in _curves(adaptive):
            xs, ys = [each.macs / 1e6 for each in curve], [each.accuracy for each in curve]
            (line,) = chart.axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=1.9)
            chart.legend.append((name, line))
        for row in adaptive.rows:
            colour = {"teacher": TEACHER, "adaptive": CHOSEN}.get(row.name, MEASURED)
            _mark(chart, row.macs / 1e6, row.accuracy, row.name, colour, MARKS.get(row.name, "s"))
        _costs(chart, adaptive)
        return chart.svg("Accuracy against the cost of an image, over the thresholds of the cascade")


def _mark(chart: Chart, x: float, y: float, name: str, colour: str, mark: str) -> None:
    size = 9 if name == "adaptive" else 7
    chart.axes.plot([x], [y], mark, color=colour, markersize=size, mec="white", mew=0.8, zorder=4)
    text = "chosen" if name == "adaptive" else name
    where: Any = {"textcoords": "offset points", "parse_math": False, "zorder": 5}
    chart.axes.annotate(text, (x, y), (0, 8), ha="center", va="bottom", color=colour, **where)


def _costs(chart: Chart, adaptive: Adaptive) -> None:
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes, costs = chart.axes, [row.macs / 1e6 for row in adaptive.rows]
    full = sum(member.macs for member in adaptive.members) / 1e6
    far = max(costs) > FAR * full
    axes.set_xscale("log" if far else "linear")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if far else AutoLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08, y=0.12)
    axes.autoscale()
    axes.set_xlabel(f"million multiply-accumulates of an image{', logarithmic' if far else ''}")


def cost_saved(run: Run, adaptive: Adaptive) -> str:
    """What the res-students cost less than in the full sum, in percent, over the threshold, as SVG."""
    first, *others = (member.macs for member in adaptive.members)
    with our_style(f"cost saved {run.folder.name}"):
        chart = Chart("multiply-accumulates of res-students saved, percent")
        for curve, name, colour, dashes in _curves(adaptive):
            # No energy of a sum is above 1, so that a threshold of 1 saves as little as none.
            ends = {math.inf: 1.0} if adaptive.energy == "sum" else {}
            points = {
                ends.get(each.threshold, each.threshold): 100 * (1 - (each.macs - first) / sum(others))
                for each in curve
            }
            chart.line({x: y for x, y in points.items() if x <= 1}, name, colour, dashes)
        if adaptive.threshold <= 1:
            chart.axes.axvline(adaptive.threshold, color=CHOSEN, linewidth=1.2)
            where: Any = {"xycoords": chart.axes.get_xaxis_transform(), "textcoords": "offset points"}
            text = f"chosen, {threshold_text(adaptive.threshold)}"
            side = "right" if adaptive.threshold > 0.5 else "left"
            chart.rules.append(
                chart.axes.annotate(
                    text, (adaptive.threshold, 1), (0, 4), ha=side, va="bottom", parse_math=False, **where
                )
            )
        chart.axes.set_xlabel("threshold of the energy")
        return chart.svg("Cost of the res-students that is saved, over the threshold of the cascade")


def _curves(adaptive: Adaptive) -> Iterator[tuple[Sequence[TradeOff], str, str, str]]:
    """The images measured, and D_v where there is one: curve, name, colour, dashes."""
    yield adaptive.curve_measured, f"{adaptive.split} images", MEASURED, "-"
    if adaptive.chosen_on is not None:
        kind = "training" if adaptive.chosen_on.trained_on else "validation"
        yield adaptive.curve_chosen, f"D_v, {kind} images", ON_DV, "--"
