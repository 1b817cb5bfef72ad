"""The threshold of a cascade: by energy, or searched, from the logits of its prefixes on a set of images.

ResKD (Li et al., 2021), eq. 10 and algorithm 2; :mod:`cohobate.inference.cascade` has the symbols. Set
D_v, from which a threshold is chosen, must not be the test images.

Choices:
- The paper takes TH_energy = Energy(S_n, D_v) (eq. 10). :func:`cheapest` and :func:`most_accurate` search all
  thresholds that differ on the images given; one threshold serves all stages, as in the paper.

All is computed in float64, as :class:`cohobate.Cascade` computes its energies. The exits change at the
energies that occur. A threshold that is returned stands midway between two neighbouring ones, so that the
rounding of the logits in a batch of another size does not move images across it, where there is room.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..core import mean_energy
from ..core.options import checked
from .energies import Reading, check_threshold
from .search import Point, Search, check_logits, highest


@checked
def exits_at(logits: Tensor, threshold: float, *, energy: Reading = "sum") -> Tensor:
    """The stage after which each image leaves, (N,) int64, as :meth:`cohobate.Cascade.exits` has it.

    Args:
        logits: (n + 1, N, K), of S_0, S_1 ... S_n (:meth:`cohobate.Sum.prefixes`, stacked).
        threshold: in [0, 1], or math.inf.
        energy: what is compared with the threshold.

    Raises:
        ValueError: logits of another shape, of no image, or not finite; a threshold that is none.
    """
    return (highest(logits, energy) <= check_threshold(threshold)).sum(dim=0)  # Algorithm 2


def by_energy(logits: Tensor) -> float:
    """The threshold of the paper: the mean energy of S_n over D_v, a number in [1 / K, 1] (eq. 10).

    Args:
        logits: (n + 1, N, K), of S_0, S_1 ... S_n on D_v.

    Raises:
        ValueError: logits of another shape, of no image, or not finite.
    """
    check_logits(logits)
    return mean_energy(logits[-1])  # Eq. 10


@checked
def point(
    logits: Tensor, y: Tensor, macs: Sequence[float], threshold: float, *, energy: Reading = "sum"
) -> Point:
    """Accuracy, cost and exits with a threshold.

    Args:
        logits: (n + 1, N, K), of S_0, S_1 ... S_n.
        y: (N,), ids of the classes.
        macs: cost of one image in each of the n + 1 networks S_0, R_1 ... R_n; not cumulated.
        threshold: in [0, 1], or math.inf.
        energy: what is compared with the threshold.

    Raises:
        ValueError: as :func:`exits_at`; labels that are no ids of the K classes or of another number; costs
            of another number, or negative.
    """
    return Search(logits, y, macs, energy, [check_threshold(threshold)]).point(0)


@checked
def curve(
    logits: Tensor, y: Tensor, macs: Sequence[float], *, energy: Reading = "sum", points: int = 101
) -> list[Point]:
    """The trade-off between accuracy and cost: thresholds in ascending order, from 0 to math.inf.

    Args:
        logits, y, macs, energy: as in :func:`point`.
        points: how many at most, 2 or more. Where more thresholds differ, those are taken whose costs come
            closest to evenly spaced ones, both ends always.

    Raises:
        ValueError: as :func:`point`; fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"a curve has both ends, so 2 points or more, got {points}")
    search = Search(logits, y, macs, energy)
    return [search.point(i) for i in search.spread(points)]


@checked
def cheapest(
    logits: Tensor, y: Tensor, macs: Sequence[float], accuracy: float, *, energy: Reading = "sum"
) -> Point:
    """The smallest mean cost with at least this accuracy; of equal costs, that of the best accuracy.

    Args:
        logits, y, macs, energy: as in :func:`point`.
        accuracy: percent.

    Raises:
        ValueError: as :func:`point`; no threshold is as accurate: the message has the nearest.
    """
    search = Search(logits, y, macs, energy)
    found = search.best(search.accuracy >= accuracy, "macs")
    if found is None:
        top = search.point(int(search.accuracy.argmax()))
        raise ValueError(
            f"no threshold gives an accuracy of {accuracy} percent on these images; the nearest is "
            f"{top.accuracy:.6g} percent, with threshold {top.threshold:.6g} and {top.macs:.6g} "
            "multiply-accumulates an image"
        )
    return search.point(found)


@checked
def most_accurate(
    logits: Tensor, y: Tensor, macs: Sequence[float], limit: float, *, energy: Reading = "sum"
) -> Point:
    """The best accuracy with at most this mean cost; of thresholds as accurate, the cheapest.

    Args:
        logits, y, macs, energy: as in :func:`point`.
        limit: of the mean cost of an image, in the unit of ``macs``.

    Raises:
        ValueError: as :func:`point`; S_0 alone costs more: the message has its cost.
    """
    search = Search(logits, y, macs, energy)
    found = search.best(search.macs <= limit, "accuracy")
    if found is None:
        raise ValueError(
            f"no threshold keeps the mean cost within {limit} multiply-accumulates an image; the nearest is "
            f"{float(search.macs[0]):.6g}, the first network alone (threshold 0)"
        )
    return search.point(found)
