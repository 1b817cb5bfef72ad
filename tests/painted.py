"""Pictures whose colours say the class of each pixel, and their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20]], np.uint8)
"""Of classes 0 to 3."""


def blocks(rng: np.random.Generator, height: int, width: int, side: int = 12, classes: int = 4) -> np.ndarray:
    """A mask of random classes in squares, (H, W), uint8."""
    rows, columns = -(-height // side), -(-width // side)
    coarse = rng.integers(0, classes, (rows, columns)).astype(np.uint8)
    return coarse.repeat(side, 0).repeat(side, 1)[:height, :width]


def write(
    images: Path,
    masks: Path,
    number: int,
    *,
    size: tuple[int, int] = (48, 60),
    seed: int = 0,
    names: Sequence[str] = (),
    side: int = 12,
    ending: str = ".png",
) -> None:
    """So many pictures and masks of their classes, in two folders."""
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names or [f"{index:03d}" for index in range(number)]:
        mask = blocks(rng, *size, side)
        Image.fromarray(COLOURS[mask]).save(images / f"{name}{ending}")
        Image.fromarray(mask).save(masks / f"{name}.png")


def classes_shown(pixels: np.ndarray) -> np.ndarray:
    """The class whose colour is nearest to that of each pixel, (H, W)."""
    apart = pixels[:, :, None].astype(int) - COLOURS.astype(int)
    return (apart**2).sum(-1).argmin(-1)


def inside(mask: np.ndarray, reach: int = 1) -> np.ndarray:
    """The pixels that have no other class, and no end of the image, so near: (H, W), bool."""
    wide = np.pad(mask.astype(int), reach, constant_values=-1)
    height, width = mask.shape
    near = [
        wide[row : row + height, column : column + width] == mask
        for row in range(2 * reach + 1)
        for column in range(2 * reach + 1)
    ]
    return np.logical_and.reduce(near)
