"""The look of our figures, and curves over the epochs as SVG.

Text stays text, and the same numbers give the same bytes. The layout is matplotlib's: constrained, in a
figure that grows with the measured size of its legend.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ...runs.reading import Run
from .lettering import FONT, POINTS, wrapped

if TYPE_CHECKING:
    from matplotlib.backend_bases import RendererBase
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

Curve = Mapping[float, float]
"""Epoch -> value."""

# Okabe and Ito's palette, told apart by the colour-blind too; less its yellow, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
ROUNDS = ("-", "--", ":")
"""Dashes of the first seven methods, of the next seven, and so on."""
INK, FAINT = "#3a3f45", "#d9dde2"
WIDTH, HEIGHT = 5.6, 3.3
"""Of a figure without its legend, inches."""
SIZE = 9.5
"""Of text, points."""
LEGEND_TEXT = WIDTH - 0.7
"""Inches of a legend entry beside the sample of its line."""
SPARE = 0.15
"""Inches that a legend of several columns leaves free: a page may show its text in another font."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": FONT,
    "font.size": SIZE,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": SIZE,
    "figure.facecolor": "white",
}


class Figure(NamedTuple):
    """A drawing.

    Attributes:
        svg: an ``<svg>`` element that may stand in a page beside others.
        caption: what it shows.
        file: name, without its ending, of a file that holds the drawing beside the page; empty: none does.
    """

    svg: str
    caption: str
    file: str = ""


def colours(runs: Sequence[Run]) -> dict[str, str]:
    """A colour for each group of runs, in order of appearance; the palette repeats after seven."""
    groups = list(dict.fromkeys(run.group for run in runs))
    return dict(zip(groups, islice(cycle(PALETTE), len(groups)), strict=True))


def rounds(runs: Sequence[Run]) -> dict[str, str]:
    """Dashes for each group of runs: another kind each time that the palette begins anew."""
    groups = dict.fromkeys(run.group for run in runs)
    return {group: ROUNDS[i // len(PALETTE) % len(ROUNDS)] for i, group in enumerate(groups)}


def our_style(salt: str) -> AbstractContextManager[None]:
    """Our look whatever the user's matplotlibrc; the salt keeps ids of two figures on one page apart."""
    from matplotlib import style

    context: AbstractContextManager[None] = style.context(["default", STYLE | {"svg.hashsalt": salt}])
    return context


class Chart:
    """One pair of axes with its legend below, in our style as long as the caller holds it."""

    def __init__(self, y: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        self.figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        self.canvas = FigureCanvasAgg(self.figure)  # measures text before anything is written
        self.axes = self.figure.add_subplot()
        self.axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        self.axes.set_xlabel("epoch")
        self.axes.set_ylabel(y, parse_math=False)
        self.axes.margins(x=0.01)
        self.legend: list[tuple[str, Line2D]] = []
        self.rules: list[Annotation] = []

    @property
    def renderer(self) -> RendererBase:
        """What measures the parts of the figure."""
        renderer: RendererBase = self.canvas.get_renderer()
        return renderer

    def bundle(self, curves: Sequence[Curve], name: str, colour: str, dashes: str = "-") -> None:
        """The seeds of one method: a thin line each and, if there are several, a bold one for their mean."""
        curves = [curve for curve in curves if curve]
        if len(curves) < 2:
            for curve in curves:
                self.line(curve, name, colour, dashes)
            return
        thin: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 0.8, "alpha": 0.4}
        for curve in curves:
            self.axes.plot(list(curve), list(curve.values()), **thin, **_markers(curve))
        shared = sorted(set.intersection(*map(set, curves)))
        mean = {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}
        self.line(mean, f"{name}, mean of {len(curves)}", colour, dashes)

    def line(self, curve: Curve, name: str, colour: str, dashes: str = "-") -> None:
        """A curve and its entry in the legend; nothing if the curve has no point."""
        if not curve:
            return
        style: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 1.9, **_markers(curve)}
        (line,) = self.axes.plot(list(curve), list(curve.values()), **style)
        self.legend.append((name, line))

    def rule(self, x: float, name: str) -> None:
        """Where a phase begins."""
        if x > 1:  # the axis itself is the first one's rule
            self.axes.axvline(x, color=INK, linewidth=0.7)
        where: Any = {"xycoords": self.axes.get_xaxis_transform(), "textcoords": "offset points"}
        label = self.axes.annotate(name, (max(x, 1), 1), (0, 4), va="bottom", parse_math=False, **where)
        self.rules.append(label)

    def svg(self, title: str) -> str:
        """The finished figure; the title is read to those who cannot see it."""
        height = HEIGHT + self._place_legend()
        self.figure.set_figheight(height)
        self.figure.set_figheight(height + self._stack_rules())
        out = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        self.figure.savefig(out, format="svg", metadata={"Title": title, **nothing})
        return embeddable(out.getvalue())

    def _place_legend(self) -> float:
        """Below the axes, in as many columns as fit; its height in inches."""
        names = ["\n".join(wrapped(name, SIZE, LEGEND_TEXT)) for name, _ in self.legend]
        lines = [line for _, line in self.legend]
        for columns in range(len(names), 0, -1):
            legend: Legend = self.figure.legend(lines, names, loc="outside lower left", ncols=columns)
            for text in legend.get_texts():
                text.set_parse_math(False)
            box = legend.get_window_extent(self.renderer)
            if columns == 1 or box.width <= (WIDTH - SPARE) * self.figure.dpi:
                return float(box.height) / self.figure.dpi
            legend.remove()
        return 0.0

    def _stack_rules(self) -> float:
        """Raise each phase's name above those that it would overlap; the height this takes in inches."""
        self.figure.draw_without_rendering()
        ends: list[float] = []  # of each line of names, in pixels from the left
        line_height = 1.3 * SIZE
        for name in self.rules:
            box = name.get_window_extent(self.renderer)
            free = [number for number, end in enumerate(ends) if end < box.x0]
            number = free[0] if free else len(ends)
            ends[number : number + 1] = [box.x1 + SIZE]
            name.set_position((0, 4 + number * line_height))
        return max(0, len(ends) - 1) * line_height / POINTS


def _markers(curve: Curve) -> dict[str, Any]:
    """A marker at each point between two gaps, as in a phase of one epoch: its line would be invisible."""
    known = [False, *(math.isfinite(value) for value in curve.values()), False]
    alone = [i - 1 for i in range(1, len(known) - 1) if known[i] and not (known[i - 1] or known[i + 1])]
    return {"marker": "o", "markevery": alone} if alone else {"marker": ""}


def embeddable(svg: str) -> str:
    """A figure's ``<svg>`` element alone, without names of groups: two figures share a page."""
    from xml.dom.minidom import parseString

    (root,) = parseString(svg).getElementsByTagName("svg")
    root.setAttribute("role", "img")
    for metadata in root.getElementsByTagName("metadata"):
        root.removeChild(metadata)
    for group in root.getElementsByTagName("g"):
        if group.hasAttribute("id"):
            group.removeAttribute("id")
    return root.toxml()
