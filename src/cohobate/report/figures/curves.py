"""The headline metric over the epochs: of one run, and of several beside one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from ...runs.reading import SPLITS, Run, shared_headline
from ..tables.text import sentence, spelled
from .chart import PALETTE, Chart, Curve, Figure, colours, our_style, rounds

DASHES = {"val": "-", "test": "--", "train": ":"}
LATER_SHARE = 0.5


def figures(run: Run) -> Iterator[Figure]:
    """The curves of every predictor, once anything is measured."""
    if run.predictors():
        yield Figure(predictor_curves(run), f"{sentence(run.headline.title)}, last phase")


def comparison_figures(runs: Sequence[Run]) -> Iterator[Figure]:
    """For each split that was measured at each epoch: the curves, and their second half enlarged."""
    for split in SPLITS:
        if any(run.curve(split, run.readout) for run in runs if run.readout):
            measured = f"{split} {shared_headline(runs).title}"
            yield Figure(metric_curves(runs, split), measured, f"curves-{split}")
            yield Figure(
                metric_curves(runs, split, since=LATER_SHARE), f"{measured}, the second half enlarged"
            )


def metric_curves(runs: Sequence[Run], split: str, since: float = 0.0) -> str:
    """Headline metric of the reported read-out over the epochs of the last phase, as SVG.

    One colour a method, from the eighth on with dashes; a thin line a seed and, where there are several,
    a bold line for their mean, which is drawn over the epochs that all of them have reached.

    Args:
        runs: finished or not.
        split: "val", "test" or "train".
        since: the share of the epochs that is left out, to see the end of the curves enlarged.

    Raises:
        ValueError: an unknown split, a share outside [0, 1), runs with different headline metrics, or no run
            logged its metric on this split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; one of {SPLITS}")
    if not 0 <= since < 1:
        raise ValueError(f"since is a share of the epochs in [0, 1), got {since}")
    metric = shared_headline(runs)
    curves = {run.folder: run.curve(split, run.readout) for run in runs if run.readout}
    if not any(curves.values()):
        raise ValueError(f"none of the {len(runs)} runs logged its {metric.title} on the {split} split")
    start = since * max(max(curve) for curve in curves.values() if curve)
    with our_style(f"{split} {since} {[run.group for run in runs]}"):
        chart, dashes = Chart(f"{split} {metric.title}{spelled(metric)}"), rounds(runs)
        for group, colour in colours(runs).items():
            members = [run for run in runs if run.group == group]
            late = [_since(curves.get(run.folder, {}), start) for run in members]
            chart.bundle(late, members[0].name, colour, dashes[group])
        return chart.svg(f"{sentence(metric.title)} on the {split} split over the epochs")


def predictor_curves(run: Run) -> str:
    """Headline metric of every predictor in a run's last phase, as SVG: a colour a predictor, dashes a split.

    Raises:
        ValueError: the run has not logged its metric yet.
    """
    metric = run.headline
    if not run.predictors():
        raise ValueError(f"{run.folder} has logged no {metric.title} yet")
    with our_style(f"errors {run.folder.name}"):
        chart = Chart(f"{metric.title}{spelled(metric)}")
        for name, colour in zip(run.predictors(), cycle(PALETTE), strict=False):
            for split, dashes in DASHES.items():
                chart.line(run.curve(split, name), f"{name}, {split}", colour, dashes)
        return chart.svg(f"{sentence(metric.title)} over the epochs")


def _since(curve: Curve, start: float) -> Curve:
    return {epoch: value for epoch, value in curve.items() if epoch >= start}
