"""Which figures there are: each module draws those for which the runs have the numbers.

A new figure is a file with ``figures(run)`` or ``comparison_figures(runs)`` and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...runs.reading import Run
from . import adaptive, curves, losses, peers, slkd
from .chart import Figure

RUN_FIGURES: tuple[Callable[[Run], Iterator[Figure]], ...] = (
    curves.figures,
    losses.figures,
    slkd.figures,
    peers.figures,
    adaptive.figures,
)
"""In the order of a run's page."""

COMPARISON_FIGURES: tuple[Callable[[Sequence[Run]], Iterator[Figure]], ...] = (
    curves.comparison_figures,
    peers.comparison_figures,
)
"""In the order of a comparison's page."""


def run_figures(run: Run) -> list[Figure]:
    """Every figure of a run, finished or not."""
    return [figure for figures in RUN_FIGURES for figure in figures(run)]


def comparison_figures(runs: Sequence[Run]) -> list[Figure]:
    """Every figure of several runs, finished or not."""
    return [figure for figures in COMPARISON_FIGURES for figure in figures(runs)]
