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
        return shares(self.exits, self.networks)


def shares(exits: Tensor, networks: int) -> tuple[float, ...]:
    """Share of the images that left after each of so many networks; (N,) of their numbers."""
    return tuple((torch.bincount(exits, minlength=networks).double() / len(exits)).tolist())


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
    wrong, moved = elsewhere(cascade, ran.exits, sums, near)
    expected = sums[ran.exits, torch.arange(len(ran.exits))]
    wrong |= (ran.logits - expected).abs().amax(dim=1) > near * max(1.0, float(sums.abs().max()))
    if wrong.any():
        raise RunError(
            f"for {int(wrong.sum())} of {len(wrong)} images the cascade predicts otherwise than its summed "
            "logits say, by more than rounding: one of its networks looks at other images of the batch, or "
            "draws random numbers; such networks cannot be left early"
        )
    return moved


def elsewhere(cascade: Cascade, exits: Tensor, sums: Tensor, near: float) -> tuple[Tensor, int]:
    """The images that leave elsewhere than their logits say.

    Args:
        cascade: whose threshold it is.
        exits: (N,), the network after which each image left.
        sums: (n + 1, N, K), its logits of S_0, S_1 ... S_n.
        near: how far rounding takes an energy from the threshold.

    Returns:
        Which do so by more than rounding, (N,), and how many do so at all.
    """
    threshold = cascade.threshold
    there, low, high = (
        exits_at(sums, math.inf if at > 1 else max(at, 0.0), energy=cascade.energy)
        for at in (threshold, threshold - near, threshold + near)
    )
    return (exits < low) | (exits > high), int((exits != there).sum())
