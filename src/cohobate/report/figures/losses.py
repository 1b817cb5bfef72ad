"""The loss terms of a run over its epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle

from ...runs.reading import Run
from .chart import PALETTE, Chart, Figure, our_style
from .phases import phase_starts

LOG_SPAN = 30
"""Positive terms that span a larger factor stand on a logarithmic axis."""


def figures(run: Run) -> Iterator[Figure]:
    """The curves of the loss terms, once any is logged."""
    if any(line.get("losses") for line in run.metrics):
        yield Figure(loss_curves(run), "Loss terms, weighted as they are optimised")


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
        if finite and min(finite) > 0 and max(finite) > LOG_SPAN * min(finite):
            chart.axes.set_yscale("log")
        return chart.svg("Loss terms over the epochs")
