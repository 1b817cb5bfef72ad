"""The cascade itself, batch by batch, held against what the logits of its sums say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..core import Loader
from ..engine.errors import RunError
from ..engine.evaluate import autocast
from ..inference.cascade import Cascade
from ..inference.thresholds import exits_at
from .prefixes import ordered

NEAR = {"fp32": 1e-4, "bf16": 0.05}
"""How far rounding takes an energy from the threshold, and logits, as a share of the largest one."""


class Left(NamedTuple):
    """What a cascade predicts.

    Attributes:
        logits: (N, K).
        exits: (N,), the network after which each image left.
        networks: of the cascade.
        moved: how many images left elsewhere than their logits in whole batches say, by rounding.
    """

    logits: Tensor
    exits: Tensor
    networks: int
    moved: int = 0

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the images that left after each network."""
        left = torch.bincount(self.exits, minlength=self.networks)
        return tuple((left.double() / len(self.exits)).tolist())


def left(
    cascade: Cascade,
    loader: Loader,
    device: torch.device,
    precision: str,
    order: Sequence[int] | None,
    sums: Tensor,
) -> Left:
    """Run images through a cascade.

    Args:
        cascade: in evaluation mode.
        loader: of the images.
        device: of its batches.
        precision: "fp32" or "bf16".
        order: for each class of the data, the position of its logit; None: as they stand.
        sums: (n + 1, N, K), logits of S_0, S_1 ... S_n for the same images, in whole batches.

    Raises:
        RunError: the cascade differs from the sums by more than rounding.
    """
    logits, exits = [], []
    for batch in loader.epoch(0):
        with autocast(device, precision):
            found = cascade.exits(batch.x)
        logits.append(ordered(found.logits, order).cpu())
        exits.append(found.exits.cpu())
    ran = Left(torch.cat(logits), torch.cat(exits), len(cascade.networks))
    return ran._replace(moved=_moved(cascade, ran, sums, NEAR[precision]))


def _moved(cascade: Cascade, ran: Left, sums: Tensor, near: float) -> int:
    """How many images left elsewhere by rounding."""
    threshold = cascade.threshold
    there, low, high = (
        exits_at(sums, math.inf if at > 1 else max(at, 0.0), energy=cascade.energy)
        for at in (threshold, threshold - near, threshold + near)
    )
    wrong = (ran.exits < low) | (ran.exits > high)
    expected = sums[ran.exits, torch.arange(len(ran.exits))]
    wrong |= (ran.logits - expected).abs().amax(dim=1) > near * max(1.0, float(sums.abs().max()))
    if wrong.any():
        raise RunError(
            f"for {int(wrong.sum())} of {len(wrong)} images the cascade predicts otherwise than its summed "
            "logits say, by more than rounding: one of its networks looks at other images of the batch, or "
            "draws random numbers; such networks cannot be left early"
        )
    return int((ran.exits != there).sum())
