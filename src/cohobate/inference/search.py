"""All thresholds of a cascade at once: what each costs, and how often its predictions are right.

An image with running energies E_0, E_1 ... goes on after stage i, with a threshold t, where
max(E_0 ... E_i) <= t (algorithm 2). With these maxima sorted, stage by stage, the images that go on are a
prefix, so that costs and right predictions of all thresholds are cumulative sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import precise_energy
from .energies import Reading


class Point(NamedTuple):
    """What a cascade does with a threshold, on the images given.

    Attributes:
        threshold: in [0, 1], or math.inf: no image leaves early.
        accuracy: percent.
        macs: mean cost of an image, in the unit of the networks' costs (multiply-accumulates).
        exits: share of the images that leave after each stage; their sum is 1.
    """

    threshold: float
    accuracy: float
    macs: float
    exits: tuple[float, ...]


class Search:
    """Accuracy and cost of many thresholds on the same images.

    Args:
        logits: (n + 1, N, K), of S_0, S_1 ... S_n.
        y: (N,), ids of the classes.
        macs: of one image in each of the n + 1 networks; not cumulated.
        energy: what is compared with the threshold.
        thresholds: ascending; by default one for each way in which the images can leave, 0 and math.inf
            among them.

    Attributes:
        thresholds: (T,).
        on: (n, T), how many images go on after each stage.
        accuracy: (T,), percent.
        macs: (T,), mean of an image; it never falls from one threshold to the next.

    Raises:
        ValueError: an input of another shape, or out of its range.
    """

    def __init__(
        self,
        logits: Tensor,
        y: Tensor,
        macs: Sequence[float],
        energy: Reading,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        check_logits(logits)
        _check_labels(logits, y)
        first, *others = _checked_macs(macs, len(logits))
        energies, order = highest(logits, energy).sort(dim=1)
        given = None if thresholds is None else torch.tensor(thresholds, dtype=torch.float64)
        chosen = candidates(energies) if given is None else given
        self.images = len(y)
        self.thresholds = chosen.to(logits.device)
        self.on = torch.searchsorted(
            energies, self.thresholds.expand(len(energies), -1).contiguous(), right=True
        )
        # An image that goes on trades the answer of its stage for that of the next.
        right = (logits.argmax(dim=2) == y).long()
        gains = F.pad(right.diff(dim=0).gather(1, order).cumsum(dim=1), (1, 0))
        correct = right[0].sum() + gains.gather(1, self.on).sum(dim=0)
        self.accuracy = 100 * correct.double() / self.images
        each = torch.tensor(others, dtype=torch.float64, device=logits.device)
        self.macs = first + (each[:, None] * self.on).sum(dim=0) / self.images

    def point(self, i: int) -> Point:
        there = [self.images, *self.on[:, i].tolist(), 0]
        exits = tuple((one - two) / self.images for one, two in pairwise(there))
        return Point(float(self.thresholds[i]), float(self.accuracy[i]), float(self.macs[i]), exits)

    def best(self, allowed: Tensor, by: Literal["macs", "accuracy"]) -> int | None:
        """The best of the thresholds that are allowed, (T,); then by the other; None if none is allowed."""
        keys = (self.macs, -self.accuracy) if by == "macs" else (-self.accuracy, self.macs)
        rows = allowed.nonzero().squeeze(1)
        if len(rows) == 0:
            return None
        for key in keys:
            rows = rows[key[rows] == key[rows].min()]
        return int(rows[0])

    def spread(self, points: int) -> list[int]:
        """At most so many of the thresholds, with costs as evenly spaced as they are; both ends always."""
        last = len(self.thresholds) - 1
        if last < points:
            return list(range(last + 1))
        wanted = torch.linspace(float(self.macs[0]), float(self.macs[-1]), points).to(self.macs)[1:-1]
        above = torch.searchsorted(self.macs, wanted).clamp(1, last)
        nearer = above - (wanted - self.macs[above - 1] < self.macs[above] - wanted).long()
        return sorted({0, *nearer.tolist(), last})


def highest(logits: Tensor, energy: Reading) -> Tensor:
    """The highest running energy so far of each image, after each stage but the last, (n, N) in float64.

    Raises:
        ValueError: logits of another shape than (n + 1, N, K), of no image, or not finite.
    """
    check_logits(logits)
    parts = list(logits)
    if energy == "added":  # R_i is the difference of two sums.
        parts[1:] = [after.double() - before.double() for before, after in pairwise(logits)]
    energies = torch.stack([precise_energy(part) for part in parts])
    if energy == "added":
        energies = energies.cumsum(dim=0)
    return energies[:-1].cummax(dim=0).values


def candidates(energies: Tensor) -> Tensor:
    """A threshold for each way in which images with these energies can leave, ascending.

    Between two neighbouring energies it is their middle, or the lower one where no number lies between
    them; no threshold is above 1 but math.inf.
    """
    values = energies.unique()
    lower, upper = values[:-1], values[1:]
    middle = (lower + (upper - lower) / 2).clamp(max=1)
    middle = torch.where(middle < upper, middle, lower)[lower <= 1]
    return torch.cat([middle.new_tensor([0.0]), middle, middle.new_tensor([math.inf])])


def check_logits(logits: Tensor) -> None:
    if logits.ndim != 3 or 0 in logits.shape or not logits.is_floating_point():
        raise ValueError(
            "the logits are those of the sums S_0, S_1 ... S_n on one image or more, stacked: (n + 1, N, K); "
            f"got {logits.dtype} of shape {tuple(logits.shape)}"
        )
    strange = logits.isfinite().all(dim=2).logical_not().nonzero()
    if len(strange):
        stage, image = strange[0].tolist()
        raise ValueError(f"the logits of S_{stage} for image {image} are not finite: they have no energy")


def _check_labels(logits: Tensor, y: Tensor) -> None:
    images, classes = logits.shape[1:]
    if y.shape != (images,) or y.is_floating_point():
        raise ValueError(
            f"the labels are ids of the {images} images, ({images},); got {y.dtype} of shape {tuple(y.shape)}"
        )
    wrong = y[(y < 0) | (y >= classes)]
    if len(wrong):
        raise ValueError(f"the labels are ids from 0 to {classes - 1}, got {int(wrong[0])}")


def _checked_macs(macs: Sequence[float], networks: int) -> list[float]:
    if len(macs) != networks or not all(0 <= each < math.inf for each in macs):
        raise ValueError(
            f"the costs are those of the {networks} networks S_0, R_1 ..., each by itself, 0 or more; got "
            f"{list(macs)}"
        )
    return [float(each) for each in macs]
