"""Curves as SVG: text stays text, and the same numbers give the same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from ...runs.reading import SPLITS, Run

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

Curve = Mapping[float, float]
"""Epoch -> value."""

# Okabe and Ito's palette, told apart by the colour-blind too; less its yellow, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
ROUNDS = ("-", "--", ":")
"""Dashes of the first seven methods, of the next seven, and so on."""
DASHES = {"val": "-", "test": "--", "train": ":"}
INK, FAINT = "#3a3f45", "#d9dde2"
WIDTH, HEIGHT, LEGEND_LINE = 5.6, 3.3, 0.21  # inches
LONGEST = 58  # characters of a legend entry that fit the width
LEGEND_GAP = 7  # characters that a line's sample takes

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # ships with matplotlib, so layouts agree on every machine
    "font.size": 9.5,
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
    "figure.facecolor": "white",
}


def colours(runs: Sequence[Run]) -> dict[str, str]:
    """A colour for each group of runs, in order of appearance; the palette repeats after seven."""
    groups = list(dict.fromkeys(run.group for run in runs))
    return dict(zip(groups, islice(cycle(PALETTE), len(groups)), strict=True))


def rounds(runs: Sequence[Run]) -> dict[str, str]:
    """Dashes for each group of runs: another kind each time that the palette begins anew."""
    groups = dict.fromkeys(run.group for run in runs)
    return {group: ROUNDS[i // len(PALETTE) % len(ROUNDS)] for i, group in enumerate(groups)}


def error_curves(runs: Sequence[Run], split: str, since: float = 0.0) -> str:
    """Top-1 error of the deployed predictor over the epochs of the last phase, as SVG.

    One colour a method, from the eighth on with dashes; a thin line a seed and, where there are several,
    a bold line for their mean, which is drawn over the epochs that all of them have reached.

    Args:
        runs: finished or not.
        split: "val", "test" or "train".
        since: the share of the epochs that is left out, to see the end of the curves enlarged.

    Raises:
        ValueError: an unknown split, a share outside [0, 1), or no run logged this split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; one of {SPLITS}")
    if not 0 <= since < 1:
        raise ValueError(f"since is a share of the epochs in [0, 1), got {since}")
    curves = {run.folder: run.curve(split, run.predictor) for run in runs if run.predictor}
    if not any(curves.values()):
        raise ValueError(f"none of the {len(runs)} runs logged an error on the {split} split")
    start = since * max(max(curve) for curve in curves.values() if curve)
    with our_style(f"{split} {since} {[run.group for run in runs]}"):
        chart, dashes = Chart(f"{split} error, percent"), rounds(runs)
        for group, colour in colours(runs).items():
            members = [run for run in runs if run.group == group]
            late = [_since(curves.get(run.folder, {}), start) for run in members]
            chart.bundle(late, members[0].name, colour, dashes[group])
        return chart.svg(f"Top-1 error on the {split} split over the epochs")


def run_error_curves(run: Run) -> str:
    """Top-1 error of every predictor in one run's last phase, as SVG: colour a predictor, dashes a split.

    Raises:
        ValueError: the run has not logged an error yet.
    """
    if not run.predictors():
        raise ValueError(f"{run.folder} has logged no error yet")
    with our_style(f"errors {run.folder.name}"):
        chart = Chart("top-1 error, percent")
        for name, colour in zip(run.predictors(), cycle(PALETTE), strict=False):
            for split, dashes in DASHES.items():
                chart.line(run.curve(split, name), f"{name}, {split}", colour, dashes)
        return chart.svg("Top-1 error over the epochs")


def loss_curves(run: Run) -> str:
    """The weighted loss terms of one run over all its epochs, as SVG: one line a term, a rule between phases.

    Raises:
        ValueError: the run has not logged a loss yet.
    """
    losses = [line.get("losses") or {} for line in run.metrics]
    terms = list(dict.fromkeys(term for line in losses for term in line))
    if not terms:
        raise ValueError(f"{run.folder} has logged no loss yet")
    starts = phase_starts(run)
    with our_style(f"losses {run.folder.name}"):
        chart = Chart("weighted loss term")
        for term, colour in zip(terms, cycle(PALETTE), strict=False):
            # NaN is a gap: between two phases, and where a phase lacks the term.
            curve: dict[float, float] = dict.fromkeys(starts, math.nan)
            curve |= {
                i: math.nan if line.get(term) is None else line[term] for i, line in enumerate(losses, 1)
            }
            chart.line(dict(sorted(curve.items())), term, colour)
        for x, name in starts.items():
            chart.rule(x, name)
        finite = [v for line in losses for v in line.values() if v is not None and math.isfinite(v)]
        if finite and min(finite) > 0 and max(finite) > 30 * min(finite):
            chart.axes.set_yscale("log")
        return chart.svg("Loss terms over the epochs")


class Chart:
    """One pair of axes with its legend above, in our style as long as the caller holds it."""

    def __init__(self, y: str) -> None:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        self.figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        self.axes = self.figure.add_subplot()
        self.axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        self.axes.set_xlabel("epoch")
        self.axes.set_ylabel(y)
        self.axes.margins(x=0.01)
        self.legend: list[tuple[str, Line2D]] = []

    def bundle(self, curves: Sequence[Curve], name: str, colour: str, dashes: str = "-") -> None:
        """The seeds of one method."""
        curves = [curve for curve in curves if curve]
        if len(curves) < 2:
            for curve in curves:
                self.line(curve, name, colour, dashes)
            return
        thin: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 0.8, "alpha": 0.4}
        for curve in curves:
            self.axes.plot(list(curve), list(curve.values()), **thin)
        shared = sorted(set.intersection(*map(set, curves)))
        mean = {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}
        self.line(mean, f"{name}, mean of {len(curves)}", colour, dashes)

    def line(self, curve: Curve, name: str, colour: str, dashes: str = "-") -> None:
        if not curve:
            return
        marker = "o" if len(curve) == 1 else ""  # a line of one point is invisible
        points = list(curve), list(curve.values())
        (line,) = self.axes.plot(*points, color=colour, linestyle=dashes, linewidth=1.9, marker=marker)
        self.legend.append((_shortened(name), line))

    def rule(self, x: float, name: str) -> None:
        """Where a phase begins."""
        if x > 1:  # the axis itself is the first one's rule
            self.axes.axvline(x, color=INK, linewidth=0.7)
        where: Any = {"xycoords": self.axes.get_xaxis_transform(), "textcoords": "offset points"}
        self.axes.annotate(name, (max(x, 1), 1), (0, 4), va="bottom", parse_math=False, **where)

    def svg(self, title: str) -> str:
        names, lines = zip(*self.legend, strict=True)
        columns = max(1, min(len(names), LONGEST // (max(map(len, names)) + LEGEND_GAP)))
        self.figure.set_figheight(HEIGHT + LEGEND_LINE * math.ceil(len(names) / columns))
        legend = self.figure.legend(lines, names, loc="outside upper left", ncols=columns)
        for text in legend.get_texts():
            text.set_parse_math(False)
        out = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        self.figure.savefig(out, format="svg", metadata=nothing)
        return _embeddable(out.getvalue(), title)


def our_style(salt: str) -> AbstractContextManager[None]:
    """Our look whatever the user's matplotlibrc; the salt keeps ids of two figures on one page apart."""
    from matplotlib import style

    context: AbstractContextManager[None] = style.context(["default", STYLE | {"svg.hashsalt": salt}])
    return context


def _since(curve: Curve, start: float) -> Curve:
    return {epoch: value for epoch, value in curve.items() if epoch >= start}


def phase_starts(run: Run) -> dict[float, str]:
    """Half an epoch before a phase's first -> its name; nothing where there is one phase only."""
    names = [str(line["phase"]) for line in run.metrics]
    pairs = zip([None, *names], names, strict=False)
    starts = {i + 0.5: name for i, (before, name) in enumerate(pairs) if name != before}
    return starts if len(starts) > 1 else {}


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _embeddable(svg: str, title: str) -> str:
    """Without the XML prologue, and without ids that nothing refers to: two figures share a page."""
    svg = svg[svg.index("<svg") :].strip()
    used = set(re.findall(r'#([\w-]+)["\)]', svg))
    svg = re.sub(r'(<\w+) id="([^"]*)"', lambda m: m[0] if m[2] in used else m[1], svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
