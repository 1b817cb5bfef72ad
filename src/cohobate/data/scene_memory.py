"""Pictures and masks decoded once and kept in memory, where they fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..config.linux import Memory, memory
from ..config.sizes import shown_size
from ..config.text import shown
from .masks import Masks
from .pictures import PictureError, decode
from .scene_check import upright_size
from .scene_views import Lengths, Shown, as_evaluated, fitted, nearest, resized
from .scenes import Scenes

TRAINING = 4 * 2**30, 4
EVALUATION = 2**29, 16
"""Bytes that are kept of a split at most, in all processes together, and how many such would fill the memory.

A run trains on one split and evaluates on up to three.
"""


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
        """A whole picture and its mask at the size of the network, and the mask at its own."""
        return as_evaluated(*self._pair(row), self.scenes.size, self.scenes.reading)

    def fitted(self, row: int) -> Shown:
        """The same for training, which does not ask for the mask at its own size."""
        return self.for_evaluation(row)._replace(whole=None)


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


def keeps(scenes: Scenes, each: Callable[[Lengths], int], limit: int) -> bool:
    """Whether what is made of the scenes fits into memory.

    Args:
        scenes: of a split. Files that cannot be read are not counted: they are reported when they are
            decoded.
        each: size of a picture -> bytes that are kept of it.
        limit: in bytes.
    """
    left = limit
    for path in scenes.paths:
        size = _size(path)
        left -= each(size) if size is not None else 0
        if left < 0:
            return False
    return True


def allowed(most: int, part: int, world: int, found: Memory | None = None) -> int:
    """Bytes that a process may keep of a split.

    Args:
        most: in all processes together.
        part: so many such would fill the memory.
        world: processes that train together, each of which keeps pictures of its own.
        found: the memory of the machine and of the control group; None: of this process.
    """
    found = found or memory()
    # A limit that is not known is none.
    there = [size for size in (found.total, found.limit) if size is not None]
    return min([most, *(size // part for size in there)]) // world


def _size(path: Path) -> Lengths | None:
    try:
        return upright_size(path)
    # It is reported when it is decoded.
    except Exception:
        return None
