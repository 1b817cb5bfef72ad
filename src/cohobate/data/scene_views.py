"""What the network sees of a picture with a mask: all of it in evaluation, a random part in training.

Image and mask are placed by the same numbers. The image is resized by an antialiased bilinear filter, the
mask by the nearest pixel. Where a picture does not reach, there is background, and the mask is void.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .pictures import Reading
from .scenes import VOID
from .views import Box, shown_box, uncut, whole

Lengths = tuple[int, int]
"""(height, width), in pixels."""


class Shown(NamedTuple):
    """An image and its mask.

    Attributes:
        pixels: (H, W, C), uint8.
        mask: (H, W), uint8.
        whole: in evaluation, the whole mask at the picture's own size, (H_i, W_i), uint8; else None.
    """

    pixels: Tensor
    mask: Tensor
    whole: Tensor | None = None


@dataclass(frozen=True)
class Placing:
    """Which part of a picture is where in an image.

    Attributes:
        part: left, top, right, bottom of it in the picture, in pixels of that.
        box: the same in the image, in pixels of that; the rest is padding.
        mirrored: whether the image is mirrored afterwards, its padding as well.
    """

    part: Box
    box: Box
    mirrored: bool = False


def fitted(picture: Lengths, size: Lengths, reading: Reading) -> Lengths:
    """Height and width of the whole picture in an image of ``size``, as it is evaluated."""
    left, top, right, bottom = evaluated(picture, size, reading).box
    return bottom - top, right - left


def evaluated(picture: Lengths, size: Lengths, reading: Reading) -> Placing:
    """The whole picture in the middle of the image, where :func:`cohobate.data.views.whole` puts it."""
    height, width = picture
    return Placing((0, 0, width, height), shown_box(width, height, size, uncut(reading)))


def drawn(
    picture: Lengths, size: Lengths, reading: Reading, scale: tuple[float, float], rng: np.random.Generator
) -> Placing:
    """A picture at a random scale: a random part where it is larger than the image, else at a random place.

    Args:
        picture: its size.
        size: of the image.
        reading: whether the picture keeps its proportions.
        scale: smallest and largest factor of the size that the whole picture has in evaluation; it is drawn
            uniformly.
        rng: generator of the draws, always three.
    """
    factor, *places = rng.uniform(*scale), *rng.random(2)
    spans = [
        _span(own, max(1, round(whole * factor)), side, place)
        for own, whole, side, place in zip(picture, fitted(picture, size, reading), size, places, strict=True)
    ]
    (top, bottom, above, below), (left, right, before, behind) = spans
    return Placing((left, top, right, bottom), (before, above, behind, below))


def _span(own: int, scaled: int, side: int, place: float) -> tuple[int, int, int, int]:
    """First and last pixel of the part in the picture, and in the image, along one axis."""
    room = abs(scaled - side)
    first = min(room, int(place * (room + 1)))
    if scaled <= side:
        return 0, own, first, first + scaled
    start = min(own - 1, round(first * own / scaled))
    return start, max(start + 1, round((first + side) * own / scaled)), 0, side


def placed(scene: Shown, placing: Placing, size: Lengths, reading: Reading) -> Shown:
    """Image and mask of ``size`` in which a scene is placed."""
    left, top, right, bottom = placing.box
    mask = part_of_mask(scene.mask, placing)
    pixels = resized(_part(scene.pixels, placing.part), (bottom - top, right - left))
    if pixels.shape[:2] != size:
        image = background(size, reading)
        image[top:bottom, left:right] = pixels
        whole = torch.full(size, VOID, dtype=torch.uint8)
        whole[top:bottom, left:right] = mask
        pixels, mask = image, whole
    return mirrored(Shown(pixels, mask)) if placing.mirrored else Shown(pixels, mask)


def mirrored(shown: Shown) -> Shown:
    """Left and right exchanged."""
    return Shown(shown.pixels.flip(1), shown.mask.flip(1))


def background(size: Lengths, reading: Reading) -> Tensor:
    """An image of nothing else, (H, W, C)."""
    colour = np.asarray(
        Image.new("RGB", (1, 1), reading.colour).convert("L" if reading.channels == 1 else "RGB")
    )
    return torch.from_numpy(colour.reshape(1, 1, -1).copy()).expand(*size, -1).clone()


def as_evaluated(picture: Image.Image, mask: Tensor, size: Lengths, reading: Reading) -> Shown:
    """A whole picture and its mask as they are evaluated."""
    pixels = torch.from_numpy(np.array(whole(picture, size, uncut(reading)))).view(*size, -1)
    placing = evaluated((mask.shape[0], mask.shape[1]), size, reading)
    left, top, right, bottom = placing.box
    void = torch.full(size, VOID, dtype=torch.uint8)
    void[top:bottom, left:right] = part_of_mask(mask, placing)
    return Shown(pixels, void, mask)


def part_of_mask(mask: Tensor, placing: Placing) -> Tensor:
    """The part of a mask, as large as in the image, by its nearest pixels."""
    left, top, right, bottom = placing.box
    rows = _nearest(placing.part[1], placing.part[3], bottom - top)
    columns = _nearest(placing.part[0], placing.part[2], right - left)
    return torch.from_numpy(mask.numpy().take(rows, 0).take(columns, 1))


def nearest(mask: Tensor, size: Lengths) -> Tensor:
    """A whole mask at another size, by its nearest pixels."""
    height, width = mask.shape
    return part_of_mask(mask, Placing((0, 0, width, height), (0, 0, size[1], size[0])))


def _nearest(first: int, last: int, count: int) -> np.ndarray:
    """The pixels in whose middle, or next to it, the middles of ``count`` pixels lie, spread over a span."""
    return first + ((2 * np.arange(count) + 1) * (last - first)) // (2 * count)


def _part(pixels: Tensor, box: Box) -> Tensor:
    left, top, right, bottom = box
    return pixels[top:bottom, left:right]


def resized(pixels: Tensor, size: Lengths) -> Tensor:
    """(H, W, C), uint8, at another size. For three channels in this memory torch has fast kernels."""
    if pixels.shape[:2] == size:
        return pixels
    moved = pixels.permute(2, 0, 1)[None]
    resized = F.interpolate(moved, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].permute(1, 2, 0)
