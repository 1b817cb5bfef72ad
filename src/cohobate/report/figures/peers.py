"""How alike networks that learn side by side become: figures of a run and of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from statistics import fmean
from typing import Any

from ...runs.reading import SPLITS, Run
from .plots import PALETTE, Chart, colours, our_style, rounds

PEER_MEAN, BOTH_RIGHT, SAME_CLASS = "peer_mean", "both_right", "same_class"


def diversity(both_right: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """``agreement``, ``disagreement`` and ``q_statistic`` of the recorded shares, 0 to 1, (T, T).

    None of them is in percent; see :func:`cohobate.analysis.diversity.of_shares`.
    """
    import torch  # here, so that a report without peers does not wait for it

    from ...analysis.diversity import of_shares

    return of_shares(torch.tensor(both_right, dtype=torch.float64))


def figures(run: Run) -> list[tuple[str, str]]:
    """The figure of the peers, as SVG with its caption; none if the run has no peers."""
    caption = (
        "How alike the peers are. Agreement s: 1 where all are right about the same images, about 0 where "
        "by chance; same class: share of images for which two name one class, mean over pairs"
    )
    with suppress(ValueError):
        return [(similarity_curves(run), caption)]
    return []


def similarity_curves(run: Run) -> str:
    """Agreement of the peers and how often two name the same class, over the epochs, as SVG.

    Of the last phase, on the validation split, else the first split that was measured at each epoch.
    Neither is in percent: the interrater agreement s is at most 1, the share of images from 0 to 1.

    Raises:
        ValueError: the run has not measured peers.
    """
    split = next((split for split in SPLITS if _peers(run, split, BOTH_RIGHT)), None)
    if split is None:
        raise ValueError(
            f"{run.folder} ({run.method}) has not measured {PEER_MEAN}: the figure needs a method of two "
            "peers or more and a split that is measured at each epoch"
        )
    same = {epoch: _mean_pair(shares) for epoch, shares in _peers(run, split, SAME_CLASS).items()}
    with our_style(f"similarity {run.folder.name}"):
        chart = Chart(f"similarity of the peers, {split}")
        chart.line(_agreement(run, split), "agreement s", PALETTE[0])
        chart.line(same, "same class, share of images", PALETTE[1])
        return chart.svg("How alike the peers are over the epochs")


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


def splits_of_peers(runs: Sequence[Run]) -> list[str]:
    """Splits on which any run has measured peers at each epoch."""
    return [split for split in SPLITS if any(_peers(run, split, BOTH_RIGHT) for run in runs)]


def _peers(run: Run, split: str, metric: str) -> Mapping[float, Any]:
    """Epoch -> shares for each two peers."""
    return run.curve(split, PEER_MEAN, metric)


def _agreement(run: Run, split: str) -> dict[float, float]:
    """Epoch -> s; a gap where it is undefined."""
    found = {epoch: diversity(shares) for epoch, shares in _peers(run, split, BOTH_RIGHT).items()}
    return {epoch: _or_gap(values["agreement"]) for epoch, values in found.items()}


def _or_gap(value: float | None) -> float:
    return math.nan if value is None else value


def _mean_pair(shares: Sequence[Sequence[float]]) -> float:
    return fmean(shares[i][j] for i, j in combinations(range(len(shares)), 2))
