"""Pictures with a class for every pixel: the images and masks of semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ..core import VOID as VOID
from ..core import Shape
from .pictures import Reading

SCALES = (0.5, 2.0)
"""Smallest and largest factor of the random scale of training, as for DeepLab (Chen et al., 2018)."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Coding:
    """What the pixels of mask files mean.

    A mask of one channel, or with a palette, holds a number in each pixel, and one in colours an RGB colour.

    Attributes:
        ids: number -> class, or :data:`VOID`; a number that is not here is an error.
        colours: colour -> class, or :data:`VOID`, of masks in colours; none: such masks are an error.
    """

    ids: Mapping[int, int]
    colours: Mapping[Colour, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Pictures and their masks, left on disk.

    Attributes:
        paths: N picture files.
        masks: their mask files, of the pictures' own sizes.
        size: (height, width) that the network sees, in pixels.
        coding: what the pixels of the masks mean.
        reading: how a picture becomes an image of this size. A whole picture is evaluated, whatever ``fit``:
            ``crop`` and ``pad`` show it padded, ``squash`` stretched.
        scale: smallest and largest factor of the random scale in training, of the size of the whole picture
            in evaluation.

    Raises:
        ValueError: another number of masks than pictures, or no such scales.
    """

    paths: tuple[Path, ...]
    masks: tuple[Path, ...]
    size: tuple[int, int]
    coding: Coding
    reading: Reading = Reading()  # noqa: RUF009  it is frozen
    scale: tuple[float, float] = SCALES

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            low, high = self.scale
            raise ValueError(
                f"the random scale is two factors above 0, the smaller one first, got {low:g} and {high:g}"
            )
        if len(self.paths) != len(self.masks):
            raise ValueError(f"{len(self.paths)} pictures need as many masks, got {len(self.masks)}")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an image as the network sees it."""
        return self.reading.channels, *self.size

    def subset(self, index: Tensor) -> Scenes:
        """The scenes at these rows, in this order."""
        rows = index.tolist()
        paths, masks = (tuple(files[i] for i in rows) for files in (self.paths, self.masks))
        return replace(self, paths=paths, masks=masks)
