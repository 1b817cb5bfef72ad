"""Whether two forms of one network predict the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..config.words import count

TIE = 1e-4
"""Two logits that are closer, as a share of the largest where that is above 1, are a tie: which is larger may
be decided by rounding."""
AT_ONCE = 2**22
"""Logits that are compared at a time, or those of one image: their differences are in float64."""
ROUNDING = 1e-3
"""Largest difference of logits, over the largest logit, that rounding explains."""


class Agreement(NamedTuple):
    """Logits of two forms of a network on the same images.

    Attributes:
        images: how many.
        difference: the largest between two logits.
        largest: the largest absolute logit of the first.
        other_labels: images, or pixels, for which they predict different labels.
        ties: those of them whose two best logits are closer than 1e-4 of the largest.
        pixels: how many pixels have a label each; None: each image has one.
    """

    images: int
    difference: float
    largest: float
    other_labels: int
    ties: int
    pixels: int | None = None

    @property
    def same(self) -> bool:
        """Whether they are the same network, up to rounding."""
        near = self.difference <= ROUNDING * max(1.0, self.largest)
        return near and self.other_labels == self.ties

    def __str__(self) -> str:
        of = "" if self.pixels is None else f" of {count(self.pixels, 'pixel')}"
        labels = f"all labels{of} equal"
        if self.other_labels:
            labels = f"{count(self.other_labels, 'other label')}{of}, {self.ties} of them tied"
        images = count(self.images, "image")
        return f"{images}, largest difference of a logit {self.difference:.1e}, {labels}"


def agreement(one: Tensor, two: Tensor) -> Agreement:
    """Of logits, (N, K) or (N, K, H, W) each; an infinite difference where one of them is not finite."""
    one, two = one.detach(), two.detach()
    # Copies in float64 of all logits of pixels would take gigabytes.
    few = max(1, AT_ONCE // one[0].numel())
    ones = one.split(few)
    largest = float(torch.stack([part.abs().max() for part in ones]).max())
    tie = TIE * max(1.0, largest)
    each = [_compared(*parts, tie) for parts in zip(ones, two.split(few), strict=True)]
    difference, other, ties = torch.stack(each).T
    return Agreement(
        len(one),
        float(difference.max()),
        largest,
        int(other.sum()),
        int(ties.sum()),
        None if one.ndim == 2 else one[:, 0].numel(),
    )


def _compared(one: Tensor, two: Tensor, tie: float) -> Tensor:
    """The largest difference, other labels, and those of them that are ties: (3,), float64."""
    difference = (one.double() - two.double()).abs().nan_to_num(nan=torch.inf)
    other = one.argmax(dim=1) != two.argmax(dim=1)
    best = one.topk(min(2, one.shape[1]), dim=1).values
    tied = (best[:, 0] - best[:, -1]).abs() < tie
    return torch.stack([difference.max(), other.sum(), (other & tied).sum()])


def all_of(network: Callable[[Tensor], Tensor], images: Tensor, batch_size: int = 100) -> Tensor:
    """The logits of images, (N, C, H, W) -> (N, K) or (N, K, H, W), float32 on the CPU, batch by batch."""
    with torch.no_grad():
        return torch.cat([network(batch).float().cpu() for batch in images.split(batch_size)])
