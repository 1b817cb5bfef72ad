"""Sample-adaptive inference: accuracy against cost, and what res-students cost less (ResKD, figure 3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...runs.adaptive import Adaptive, Row, TradeOff
from ...runs.reading import Run
from ..tables.adaptive import label, threshold_text
from .chart import PALETTE, SIZE, Chart, Figure, our_style
from .lettering import POINTS, shortened

if TYPE_CHECKING:
    from matplotlib.text import Annotation

MEASURED, ON_DV, CHOSEN = PALETTE[0], PALETTE[5], PALETTE[2]
COLOURS = {"adaptive": CHOSEN, "teacher": PALETTE[6]}
MARKS = {"adaptive": "o", "teacher": "^"}
MARK = 8
"""Size of a mark, points."""
NAME = 2.2
"""Inches that the name of a mark takes at most: that of a teacher may be a path."""
PLACES = tuple(
    (x * distance, y * distance)
    for distance in (7, 14, 24, 36)
    for x, y in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
)
"""Where the name of a mark may stand, in points from its middle, in order of preference."""
FAR = 2.5
"""Where the teacher costs so many times the sum, the axis of the cost is logarithmic."""


def figures(run: Run) -> Iterator[Figure]:
    """Both, once ``cohobate evaluate --adaptive`` has measured them."""
    if run.adaptive is not None:
        yield Figure(
            trade_off(run, run.adaptive),
            "Sample-adaptive inference: accuracy against the mean cost of an image, over all thresholds; "
            f"marks: each network on the {run.adaptive.split} images, the cascade with the chosen threshold",
        )
        yield Figure(
            cost_saved(run, run.adaptive),
            "Share of the multiply-accumulates of the res-students, R_1 and later, that is saved, over the "
            "threshold (ResKD, figure 3)",
        )


def trade_off(run: Run, adaptive: Adaptive) -> str:
    """Accuracy over the mean cost of an image, as SVG.

    A line over all thresholds on the images measured, a dashed one on D_v; a mark for each network.
    """
    with our_style(f"trade-off {run.folder.name}"):
        chart = Chart("accuracy, percent")
        for curve, name, colour, dashes in _curves(adaptive):
            xs, ys = [each.macs / 1e6 for each in curve], [each.accuracy for each in curve]
            (line,) = chart.axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=1.9)
            chart.legend.append((name, line))
        for row in adaptive.rows:
            style: dict[str, Any] = {"color": _colour(row), "markersize": MARK}
            style |= {"mec": "white", "mew": 0.8, "zorder": 4, "clip_on": False}
            chart.axes.plot([row.macs / 1e6], [row.accuracy], MARKS.get(row.name, "s"), **style)
        _costs(chart, adaptive)
        _name_marks(chart, adaptive)
        return chart.svg("Accuracy against the cost of an image, over the thresholds of the cascade")


def _name_marks(chart: Chart, adaptive: Adaptive) -> None:
    """The name of each mark beside it, where it covers no mark and no other name, and if it can no line."""
    from matplotlib.transforms import Bbox

    chart.figure.draw_without_rendering()
    half = MARK / 2 * chart.figure.dpi / POINTS
    points = [(row.macs / 1e6, row.accuracy) for row in adaptive.rows]
    middles = chart.axes.transData.transform(points)
    taken = [Bbox([(x - half, y - half), (x + half, y + half)]) for x, y in middles]
    lines = [line.get_path().transformed(line.get_transform()) for _, line in chart.legend]
    inside = chart.axes.get_window_extent(chart.renderer)
    where: Any = {"textcoords": "offset points", "parse_math": False, "zorder": 5}
    for row, point in zip(adaptive.rows, points, strict=True):
        text = "chosen" if row.name == "adaptive" else shortened(label(adaptive, row), SIZE, NAME)
        name = chart.axes.annotate(text, point, PLACES[0], color=_colour(row), **where)

        def stand(place: tuple[int, int], name: Annotation = name) -> tuple[bool, bool]:
            _place(name, *place)
            box = name.get_window_extent(chart.renderer)
            x_fits = inside.x0 <= box.x0 and box.x1 <= inside.x1
            fits = x_fits and inside.y0 <= box.y0 and box.y1 <= inside.y1
            crossed = any(line.intersects_bbox(box, filled=False) for line in lines)
            return not fits or any(map(box.overlaps, taken)), crossed

        _place(name, *min(PLACES, key=stand))
        taken.append(name.get_window_extent(chart.renderer))


def _place(name: Annotation, x: int, y: int) -> None:
    """Put a name so many points from its mark, on that side of it."""
    name.set_horizontalalignment("center" if x == 0 else "left" if x > 0 else "right")
    name.set_verticalalignment("center" if y == 0 else "bottom" if y > 0 else "top")
    name.set_position((x, y))


def _colour(row: Row) -> str:
    return COLOURS.get(row.name, MEASURED)


def _costs(chart: Chart, adaptive: Adaptive) -> None:
    """The horizontal axis: million multiply-accumulates of an image, beside it room for marks and names."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, NullLocator

    axes, costs = chart.axes, [row.macs / 1e6 for row in adaptive.rows]
    far = max(costs) > FAR * sum(member.macs for member in adaptive.members) / 1e6
    axes.set_xscale("log" if far else "linear")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if far else AutoLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.08, y=0.15)
    axes.set_xlabel(f"million multiply-accumulates of an image{', logarithmic' if far else ''}")


def cost_saved(run: Run, adaptive: Adaptive) -> str:
    """What the res-students cost less than in the full sum, in percent, over the threshold, as SVG."""
    from matplotlib.ticker import AutoLocator

    first, *others = (member.macs for member in adaptive.members)
    with our_style(f"cost saved {run.folder.name}"):
        chart = Chart("cost of res-students saved, percent")
        for curve, name, colour, dashes in _curves(adaptive):
            # No energy of a sum is above 1, so that a threshold of 1 saves as little as none.
            last = 1.0 if adaptive.energy == "sum" else math.inf
            saved = {min(each.threshold, last): 1 - (each.macs - first) / sum(others) for each in curve}
            chart.line({x: 100 * y for x, y in saved.items() if x <= 1}, name, colour, dashes)
        if adaptive.threshold <= 1:
            chart.axes.axvline(adaptive.threshold, color=CHOSEN, linewidth=1.2)
            style: Any = {"ha": "right" if adaptive.threshold > 0.5 else "left", "va": "bottom"}
            style |= {"xycoords": chart.axes.get_xaxis_transform(), "textcoords": "offset points"}
            text = f"chosen, {threshold_text(adaptive.threshold)}"
            label = chart.axes.annotate(text, (adaptive.threshold, 1), (0, 4), parse_math=False, **style)
            chart.rules.append(label)
        chart.axes.xaxis.set_major_locator(AutoLocator())
        chart.axes.set_xlabel("threshold of the energy")
        return chart.svg("Cost of the res-students that is saved, over the threshold of the cascade")


def _curves(adaptive: Adaptive) -> Iterator[tuple[Sequence[TradeOff], str, str, str]]:
    """The images measured, and D_v where there is one: curve, name, colour, dashes."""
    yield adaptive.curve_measured, f"{adaptive.split} images", MEASURED, "-"
    if adaptive.chosen_on is not None:
        kind = "training" if adaptive.chosen_on.trained_on else "validation"
        yield adaptive.curve_chosen, f"D_v, {kind} images", ON_DV, "--"
