"""How similar networks that learn side by side become: figures of a run and of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from ...runs.reading import SPLITS, Run
from ..tables.readouts import BOTH_RIGHT, diversity
from .chart import PALETTE, Chart, Figure, colours, our_style, rounds

PEER_MEAN, SAME_CLASS = "peer_mean", "same_class"


def figures(run: Run) -> Iterator[Figure]:
    """The curves of a run whose method has peers."""
    if _splits([run]):
        yield Figure(
            similarity_curves(run),
            "How similar the peers are. Agreement s: 1 where all are right about the same images, about 0 "
            "where by chance; same class: share of images for which two predict one class, mean over pairs",
        )


def comparison_figures(runs: Sequence[Run]) -> Iterator[Figure]:
    """For each split on which peers were measured at each epoch: their agreement."""
    for split in _splits(runs):
        caption = f"{split} agreement s of the peers: smaller is more diverse"
        yield Figure(agreement_curves(runs, split), caption, f"agreement-{split}")


def similarity_curves(run: Run) -> str:
    """Agreement of the peers and how often two predict the same class, over the epochs, as SVG.

    Of the last phase, on the validation split, else the first split that was measured at each epoch.
    Neither is in percent: the interrater agreement s is at most 1, the share of images from 0 to 1.

    Raises:
        ValueError: the run has not measured peers.
    """
    splits = _splits([run])
    if not splits:
        raise ValueError(
            f"{run.folder} ({run.method}) has not measured {PEER_MEAN}: the figure needs a method of two "
            "peers or more and a split that is measured at each epoch"
        )
    split = splits[0]
    same = {epoch: _mean_pair(shares) for epoch, shares in _peers(run, split, SAME_CLASS).items()}
    with our_style(f"similarity {run.folder.name}"):
        chart = Chart(f"similarity of the peers, {split}")
        chart.line(_agreement(run, split), "agreement s", PALETTE[0])
        chart.line(same, "same class, share of images", PALETTE[1])
        return chart.svg("How similar the peers are over the epochs")


def agreement_curves(runs: Sequence[Run], split: str) -> str:
    """Interrater agreement s of the peers over the epochs of the last phase, as SVG.

    One colour a method, that of its other curves; a thin line a seed and, where there are several, a bold
    line for their mean. s is at most 1, and not in percent. Runs without peers have no line.

    Args:
        runs: finished or not.
        split: "val", "test" or "train".

    Raises:
        ValueError: an unknown split, or no run has measured peers on it.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; one of {SPLITS}")
    curves = {run.folder: _agreement(run, split) for run in runs}
    if not any(curves.values()):
        raise ValueError(f"none of the {len(runs)} runs measured {PEER_MEAN} on the {split} split")
    with our_style(f"agreement {split} {[run.group for run in runs]}"):
        chart, dashes = Chart(f"{split} agreement s of the peers"), rounds(runs)
        for group, colour in colours(runs).items():
            members = [run for run in runs if run.group == group]
            chart.bundle([curves[run.folder] for run in members], members[0].name, colour, dashes[group])
        return chart.svg(f"Interrater agreement of the peers on the {split} split over the epochs")


def _splits(runs: Sequence[Run]) -> list[str]:
    """Splits on which any run has measured peers at each epoch."""
    return [split for split in SPLITS if any(_peers(run, split, BOTH_RIGHT) for run in runs)]


def _peers(run: Run, split: str, metric: str) -> Mapping[float, Any]:
    """Epoch -> shares (T, T) of each two of the T peers."""
    return run.curve(split, PEER_MEAN, metric)


def _agreement(run: Run, split: str) -> dict[float, float]:
    """Epoch -> s; a gap where it is undefined."""
    agreements = {
        epoch: diversity(shares)["agreement"] for epoch, shares in _peers(run, split, BOTH_RIGHT).items()
    }
    return {epoch: math.nan if s is None else s for epoch, s in agreements.items()}


def _mean_pair(shares: Sequence[Sequence[float]]) -> float:
    return fmean(shares[i][j] for i, j in combinations(range(len(shares)), 2))
