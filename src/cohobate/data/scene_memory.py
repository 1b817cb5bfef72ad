"""Pictures and masks decoded once and kept in memory, where they fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..config.sizes import shown_size
from ..config.text import shown
from .masks import Masks
from .pictures import PictureError, decode
from .scene_views import Lengths, Shown, as_evaluated, fitted, nearest, resized
from .scenes import Scenes

LIMIT = 4 * 2**30
"""Bytes of pictures and masks that are kept for a split; no more than a quarter of the machine's memory."""


@final
class Kept:
    """Row -> what was made of it, once. Several threads may ask.

    Args:
        make: of a row, what to keep; what it raises is raised again at every request.
    """

    def __init__(self, make: Callable[[int], Shown]) -> None:
        self._make, self._made = make, dict[int, Shown]()

    def __call__(self, row: int) -> Shown:
        found = self._made.get(row)
        if found is None:
            found = self._made[row] = self._make(row)
        return found


@final
class Decoding:
    """Decodes pictures and masks of a split.

    Args:
        scenes: of the split.
    """

    def __init__(self, scenes: Scenes) -> None:
        self.scenes, self._masks = scenes, Masks(scenes.coding)

    def _pair(self, row: int) -> tuple[Image.Image, Tensor]:
        """A picture, upright, and its mask, of the same size.

        Raises:
            PictureError: one of them cannot be read, or the sizes differ.
        """
        picture = decode(self.scenes.paths[row], self.scenes.reading)
        mask = self.mask(row)
        own, other = (picture.height, picture.width), (mask.shape[0], mask.shape[1])
        if own != other:
            raise PictureError(sizes_differ(self.scenes.masks[row], other, self.scenes.paths[row], own))
        return picture, mask

    def mask(self, row: int) -> Tensor:
        """A mask at its own size, (H_i, W_i), uint8."""
        return torch.from_numpy(self._masks(self.scenes.masks[row]))

    def for_training(self, row: int) -> Shown:
        """A picture and its mask, made smaller to the largest scale of training if they are larger."""
        picture, mask = self._pair(row)
        size = stored((picture.height, picture.width), self.scenes)
        pixels = torch.from_numpy(np.array(picture)).view(picture.height, picture.width, -1)
        # Contiguous: what it was made of is not kept.
        return Shown(resized(pixels, size).contiguous(), nearest(mask, size))

    def for_evaluation(self, row: int) -> Shown:
        """A whole picture and its mask at the size of the network."""
        return as_evaluated(*self._pair(row), self.scenes.size, self.scenes.reading)


def stored(picture: Lengths, scenes: Scenes) -> Lengths:
    """The size at which a picture is kept for training: its own, or the largest that training shows."""
    largest = (round(side * scenes.scale[1]) for side in fitted(picture, scenes.size, scenes.reading))
    own = tuple(min(side, most) for side, most in zip(picture, largest, strict=True))
    # Not one side alone, which would change its proportions.
    smaller = all(side < most for side, most in zip(own, picture, strict=True))
    return (max(1, own[0]), max(1, own[1])) if smaller or scenes.reading.fit == "squash" else picture


def sizes_differ(mask: Path, own: Lengths, picture: Path, other: Lengths) -> str:
    """That a mask is of another size than its picture, in words."""
    return (
        f"mask {shown(mask)} is {shown_size(own)} pixels (height x width), and its picture {shown(picture)} "
        f"{shown_size(other)}; a mask has a class for every pixel of its picture"
    )


def keeps(scenes: Scenes, each: Callable[[Lengths], int], limit: int | None = None) -> bool:
    """Whether what is made of the scenes fits into memory.

    Args:
        scenes: of a split.
        each: size of a picture -> bytes that are kept of it.
        limit: in bytes; None: :data:`LIMIT`.
    """
    left = allowed() if limit is None else limit
    for path in scenes.paths:
        left -= each(_size(path))
        if left < 0:
            return False
    return True


def allowed() -> int:
    """Bytes that may be kept for a split."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return LIMIT
    return min(LIMIT, memory // 4)


def _size(path: Path) -> Lengths:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    # It is reported when it is decoded.
    except Exception:
        return 0, 0
