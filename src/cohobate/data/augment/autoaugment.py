"""AutoAugment and Cutout, which change a training image after its crop and flip.

Ekin D. Cubuk, Barret Zoph, Dandelion Mane, Vijay Vasudevan, Quoc V. Le. AutoAugment: Learning
Augmentation Strategies from Data. CVPR 2019. arXiv 1805.09501. Policies: its tables of the appendix.

Terrance DeVries, Graham W. Taylor. Improved Regularization of Convolutional Neural Networks with
Cutout. arXiv 1708.04552, 2017.

An image draws one of the 25 sub-policies evenly; a sub-policy is two operations, one after the other,
each with the probability that it is applied and its magnitude.

Choices:
- The paper gives ten levels of magnitude and the range of each operation; level k of 0 to 9 is here
  k / 9 of the range, as in the Pillow codes that are in use (the authors' own code counts to 10).
- Shear up to 0.3, shift up to 150 / 331 of the side (150 pixels of ImageNet's 331), rotation up to 30
  degrees, each in either direction at random. Colour, contrast, brightness and sharpness are 1 + or -
  up to 0.9, at random too: the paper's range 0.1 to 1.9 with its middle at level 0. Posterize keeps 8
  down to 4 bits, solarize begins at 256 down to 0.
- Nearest sampling, and grey (128) for what comes from outside the image.
- Order: crop and flip, AutoAugment, normalise, Cutout. The authors apply the policy before crop and
  flip; the public codes of those who use it (BYOT's is one) after.
- Cutout: zeros after normalisation, so the mean colour. The centre is any pixel of the image, and what
  lies outside is clipped, so that some images lose little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..order import LOOKS, own_draws
from . import operations as op

PolicyName = Literal["none", "cifar", "imagenet", "svhn"]

Step = tuple[str, float, int]
"""Operation, probability, level of magnitude 0 to 9 (0 where the operation has none)."""


class Operation(NamedTuple):
    """An operation and its amount at a share of the range, to which a reach is added or taken off."""

    apply: Callable[[Tensor, Tensor], Tensor]
    middle: Callable[[float], float] = lambda share: 0.0
    reach: float = 0.0


OPERATIONS = {
    "shear_x": Operation(op.shear_x, reach=0.3),
    "shear_y": Operation(op.shear_y, reach=0.3),
    "translate_x": Operation(op.translate_x, reach=150 / 331),
    "translate_y": Operation(op.translate_y, reach=150 / 331),
    "rotate": Operation(op.rotate, reach=30.0),
    "color": Operation(op.color, lambda share: 1.0, 0.9),
    "contrast": Operation(op.contrast, lambda share: 1.0, 0.9),
    "brightness": Operation(op.brightness, lambda share: 1.0, 0.9),
    "sharpness": Operation(op.sharpness, lambda share: 1.0, 0.9),
    "posterize": Operation(op.posterize, lambda share: 8.0 - round(4 * share)),
    "solarize": Operation(op.solarize, lambda share: 256 - 256 * share),
    "autocontrast": Operation(op.autocontrast),
    "equalize": Operation(op.equalize),
    "invert": Operation(op.invert),
}

POLICIES: dict[str, tuple[tuple[Step, Step], ...]] = {
    "cifar": (
        (("invert", 0.1, 0), ("contrast", 0.2, 6)),
        (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
        (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
        (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
        (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
        (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
        (("color", 0.4, 3), ("brightness", 0.6, 7)),
        (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
        (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
        (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
        (("color", 0.7, 7), ("translate_x", 0.5, 8)),
        (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
        (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
        (("brightness", 0.9, 6), ("color", 0.2, 8)),
        (("solarize", 0.5, 2), ("invert", 0.0, 0)),
        (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
        (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
        (("color", 0.9, 9), ("equalize", 0.6, 0)),
        (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
        (("brightness", 0.1, 3), ("color", 0.7, 0)),
        (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
        (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
        (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
        (("equalize", 0.8, 0), ("invert", 0.1, 0)),
        (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
    ),
    "imagenet": (
        (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
        (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
        (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
        (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
        (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
        (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
        (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
        (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
        (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
        (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
        (("rotate", 0.8, 8), ("color", 0.4, 0)),
        (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
        (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
        (("invert", 0.6, 0), ("equalize", 1.0, 0)),
        (("color", 0.6, 4), ("contrast", 1.0, 8)),
        (("rotate", 0.8, 8), ("color", 1.0, 2)),
        (("color", 0.8, 8), ("solarize", 0.8, 7)),
        (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
        (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
        (("color", 0.4, 0), ("equalize", 0.6, 0)),
        (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
        (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
        (("invert", 0.6, 0), ("equalize", 1.0, 0)),
        (("color", 0.6, 4), ("contrast", 1.0, 8)),
        (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    ),
    "svhn": (
        (("shear_x", 0.9, 4), ("invert", 0.2, 0)),
        (("shear_y", 0.9, 8), ("invert", 0.7, 0)),
        (("equalize", 0.6, 0), ("solarize", 0.6, 6)),
        (("invert", 0.9, 0), ("equalize", 0.6, 0)),
        (("equalize", 0.6, 0), ("rotate", 0.9, 3)),
        (("shear_x", 0.9, 4), ("autocontrast", 0.8, 0)),
        (("shear_y", 0.9, 8), ("invert", 0.4, 0)),
        (("shear_y", 0.9, 5), ("solarize", 0.2, 6)),
        (("invert", 0.9, 0), ("autocontrast", 0.8, 0)),
        (("equalize", 0.6, 0), ("rotate", 0.9, 3)),
        (("shear_x", 0.9, 4), ("solarize", 0.3, 3)),
        (("shear_y", 0.8, 8), ("invert", 0.7, 0)),
        (("equalize", 0.9, 0), ("translate_y", 0.6, 6)),
        (("invert", 0.9, 0), ("equalize", 0.6, 0)),
        (("contrast", 0.3, 3), ("rotate", 0.8, 4)),
        (("invert", 0.8, 0), ("translate_y", 0.0, 2)),
        (("shear_y", 0.7, 6), ("solarize", 0.4, 8)),
        (("invert", 0.6, 0), ("rotate", 0.8, 4)),
        (("shear_y", 0.3, 7), ("translate_x", 0.9, 3)),
        (("shear_x", 0.1, 6), ("invert", 0.6, 0)),
        (("solarize", 0.7, 2), ("translate_y", 0.6, 7)),
        (("shear_y", 0.8, 4), ("invert", 0.8, 0)),
        (("shear_x", 0.7, 9), ("translate_y", 0.8, 3)),
        (("shear_y", 0.8, 5), ("autocontrast", 0.7, 0)),
        (("shear_x", 0.7, 2), ("invert", 0.1, 0)),
    ),
}
"""Name -> 25 sub-policies of two steps."""

DRAWS = 7
"""Uniform numbers of one look: sub-policy; whether, twice; which direction, twice; centre of the square."""


class Plan(NamedTuple):
    """A policy as tensors, (25, 2) each: which operation, how likely, from where and how far."""

    which: Tensor
    likely: Tensor
    middle: Tensor
    reach: Tensor


@cache
def plan(policy: str) -> Plan:
    """The policy of this name."""
    names = list(OPERATIONS)
    rows = []
    for name, likely, level in (step for steps in POLICIES[policy] for step in steps):
        share = level / 9
        operation = OPERATIONS[name]
        rows.append((names.index(name), likely, operation.middle(share), operation.reach * share))
    which, *others = torch.tensor(rows, dtype=torch.float64).view(-1, 2, 4).unbind(-1)
    return Plan(which.long(), *others)


def autoaugment(x: Tensor, draws: Tensor, policy: str) -> Tensor:
    """Each image changed by the sub-policy that it drew.

    Args:
        x: (B, H, W, 3), uint8.
        draws: (B, 7), float64 of 0 to 1, on the CPU.
        policy: a name of :data:`POLICIES`.
    """
    which, likely, middle, reach = plan(policy)
    chosen = (draws[:, 0] * len(which)).long()
    for turn in (0, 1):
        applied = draws[:, 1 + turn] < likely[chosen, turn]
        sign = torch.where(draws[:, 3 + turn] < 0.5, -1.0, 1.0)
        amount = middle[chosen, turn] + sign * reach[chosen, turn]
        x = _applied(x, torch.where(applied, which[chosen, turn], len(OPERATIONS)), amount)
    return x


def _applied(x: Tensor, which: Tensor, amount: Tensor) -> Tensor:
    """Apply to each image the operation of its number; the number after the last leaves it unchanged."""
    # Sorted by operation: the images of each operation are one slice, and only three tensors are sent to
    # the device.
    order = which.argsort(stable=True)
    back, amounts = order.argsort().to(x.device), amount[order].to(x.device)
    parts = list(
        x.index_select(0, order.to(x.device)).split(which.bincount(minlength=len(OPERATIONS) + 1).tolist())
    )
    done = 0
    for k, operation in enumerate(OPERATIONS.values()):
        if count := len(parts[k]):
            parts[k] = operation.apply(parts[k], amounts[done : done + count])
            done += count
    return torch.cat(parts).index_select(0, back)


def cutout(x: Tensor, draws: Tensor, side: int) -> Tensor:
    """A square of each image set to zero.

    Args:
        x: (B, C, H, W), normalised; it may be overwritten.
        draws: (B, 2) of 0 to 1: row and column of its centre.
        side: of the square in pixels; it is clipped at the border of the image.
    """
    size = torch.tensor(x.shape[-2:], dtype=draws.dtype)
    first = ((draws * size).long() - side // 2).to(x.device)
    row, column = (torch.arange(n, device=x.device) for n in x.shape[-2:])
    top, left = first[:, :1], first[:, 1:]
    rows = ((row >= top) & (row < top + side)).to(x.dtype)
    columns = ((column >= left) & (column < left + side)).to(x.dtype).repeat_interleave(x.shape[1], 1)
    # A product over whole lines, in the order of the memory: masks and an axis of 3 do not vectorise.
    lines = x.permute(0, 2, 3, 1).flatten(2).mul_(1 - rows[:, :, None] * columns[:, None])
    return lines.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Distortion:
    """AutoAugment, Cutout, both or neither, and their random draws.

    These come from generators of their own, so crops, flips and order do not depend on them.

    Args:
        policy: of AutoAugment.
        side: of Cutout's square in pixels; 0: none.

    Raises:
        ValueError: no such policy, or a negative side.
    """

    policy: PolicyName = "none"
    side: int = 0

    def __post_init__(self) -> None:
        if self.policy not in get_args(PolicyName):
            raise ValueError(f"autoaugment must be one of {get_args(PolicyName)}, got {self.policy!r}")
        if self.side < 0:
            raise ValueError(f"cutout must be 0 or more pixels, got {self.side}")

    def __bool__(self) -> bool:
        return self.policy != "none" or self.side > 0

    def table(self, seed: int, version: int, view: int, images: int) -> Tensor:
        """Draws of all images in a view of a version, (N, 7); (N, 0) where there is nothing to draw."""
        return torch.from_numpy(own_draws(LOOKS, seed, version, view).random((images, DRAWS if self else 0)))

    def each(self, seed: int, version: int, view: int, rows: list[int]) -> Tensor:
        """Draws of single images, (M, 7): other numbers than the table's, but no table."""
        every = [own_draws(LOOKS, seed, version, row, view).random(DRAWS) for row in rows]
        return torch.from_numpy(np.stack(every))

    def changed(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Before normalisation: uint8 (B, H, W, 3)."""
        return pixels if self.policy == "none" else autoaugment(pixels, draws, self.policy)

    def hidden(self, x: Tensor, draws: Tensor) -> Tensor:
        """After normalisation: (B, 3, H, W), which may be overwritten."""
        return x if self.side == 0 else cutout(x, draws[:, -2:], self.side)
