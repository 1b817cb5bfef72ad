"""What the network sees of a picture: all of it or its middle in evaluation, a random part in training.

The option ``fit`` has one meaning at every size. In training it is applied to a random box of the picture in
place of the picture, where there are such boxes: for images larger than 64 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from ..config.sizes import Size
from ..core import Task
from .areas import area_means
from .pictures import SMALL, Fit, Reading

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
MARGIN = 256 / 224
"""By how much a large picture is larger than its central crop. Training shows random boxes, so that objects
look larger than in the whole picture; the crop makes up for some of that."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""


def random_box(width: int, height: int, rng: np.random.Generator, aspect: float = 1.0) -> Box:
    """A random box of 8 to 100 percent of the area of a picture.

    After ten draws of a box that does not fit: the largest central box with a permitted aspect ratio.

    Args:
        width, height: of the picture, in pixels.
        rng: generator of the draws.
        aspect: width over height of the network's input; that of the box is 3/4 to 4/3 times as large.
    """
    for _ in range(10):
        area = width * height * rng.uniform(*SCALE)
        ratio = aspect * np.exp(rng.uniform(*np.log(RATIO)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * (aspect * RATIO[1]))), min(height, round(width / (aspect * RATIO[0])))
    return central_box(width, height, w, h)


def central_box(width: int, height: int, w: int, h: int) -> Box:
    """The box of size w x h in the middle."""
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def augmented(
    picture: Image.Image,
    size: tuple[int, int],
    flip: bool,
    rng: np.random.Generator,
    reading: Reading | None = None,
    crop: bool = True,
) -> Image.Image:
    """A random box of a picture, fitted to ``size`` (height, width), and mirrored at random if ``flip``.

    The box has the proportions of ``size`` for ``crop``, else those of the picture, 3/4 to 4/3 times: it is
    cut, padded or squashed as the whole picture is in evaluation. Without ``crop`` the picture is shown as it
    is evaluated, and mirrored.
    """
    height, width = size
    reading = reading or Reading()
    if not crop:
        picture = whole(picture, size, reading)
    else:
        aspect = width / height if reading.fit == "crop" else picture.width / picture.height
        picture = picture.crop(random_box(*picture.size, rng, aspect))
        picture = padded(picture, size, reading) if reading.fit == "pad" else squashed(picture, size)
    mirrored = flip and rng.random() < 0.5
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture


def whole(picture: Image.Image, size: tuple[int, int], reading: Reading | None = None) -> Image.Image:
    """A picture as it is evaluated, and as a small one is kept in memory: of ``size`` (height, width)."""
    reading = reading or Reading()
    if reading.averaged_from is not None:
        return _averaged(picture, size, reading, reading.averaged_from)
    if reading.fit == "crop":
        return centred(picture, size, margin_of(size, reading.eval_resize))
    return padded(picture, size, reading) if reading.fit == "pad" else squashed(picture, size)


def uncut(reading: Reading) -> Reading:
    """The reading that shows the whole of a picture, as its every pixel is to be classified: no ``crop``."""
    return replace(reading, fit=shown_fit(reading.fit, "segmentation"))


def shown_fit(fit: Fit, task: Task) -> Fit:
    """How a picture is shown in evaluation where ``fit`` was asked for: whole, if every pixel has a class."""
    return "pad" if task == "segmentation" and fit == "crop" else fit


def shown_box(width: int, height: int, size: tuple[int, int], reading: Reading) -> Box:
    """Where :func:`whole` shows a picture of ``width`` x ``height`` pixels in an image of ``size``.

    Args:
        width, height: of the picture.
        size: (height, width) of the image.
        reading: one that shows all of the picture (:func:`uncut`).

    Raises:
        ValueError: it cuts something off, so that no box holds the picture.
    """
    if reading.fit == "crop":
        raise ValueError("fit crop cuts off a part of a picture; pad and squash show the whole of it")
    return (0, 0, size[1], size[0]) if reading.fit == "squash" else padded_box(width, height, size)


def _averaged(picture: Image.Image, size: Size, reading: Reading, stored: Size) -> Image.Image:
    if reading.fit == "crop":
        picture = centred(picture, stored, 1.0)
    else:
        picture = whole(picture, stored, replace(reading, averaged_from=None))
    x = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(1, *stored, -1)
    return Image.fromarray(area_means(x, size)[0].numpy().squeeze(), picture.mode)


def margin_of(size: Sequence[int], eval_resize: int | None = None) -> float:
    """How much larger than its central crop of ``size`` (height, width) a picture is made in evaluation.

    Args:
        size: of the crop, in pixels.
        eval_resize: shorter side of what the picture is made to cover, in pixels; None: 256/224 of ``size``
            where that is larger than 64 pixels, else ``size``.

    Raises:
        ValueError: a shorter side below that of the crop.
    """
    if eval_resize is None:
        return MARGIN if max(size) > SMALL else 1.0
    if eval_resize < min(size):
        raise ValueError(
            f"eval_resize {eval_resize} is smaller than the shorter side of the images, {min(size)} pixels, "
            f"which are cut out of the picture afterwards: give {min(size)} or more"
        )
    return eval_resize / min(size)


def centred(picture: Image.Image, size: tuple[int, int], margin: float = MARGIN) -> Image.Image:
    """The central crop of ``size`` (height, width) of the picture resized to cover ``margin`` times that."""
    h, w = size
    width, height = picture.size
    scale = max(round(h * margin) / height, round(w * margin) / width)
    width, height = max(w, round(width * scale)), max(h, round(height * scale))
    picture = squashed(picture, (height, width))
    return picture.crop(central_box(width, height, w, h))


def padded(picture: Image.Image, size: tuple[int, int], reading: Reading) -> Image.Image:
    """The whole picture in the middle of a background of ``size`` (height, width)."""
    height, width = size
    left, top, right, bottom = padded_box(*picture.size, size)
    image = Image.new("RGB", (width, height), reading.colour).convert(picture.mode)
    image.paste(squashed(picture, (bottom - top, right - left)), (left, top))
    return image


def padded_box(width: int, height: int, size: tuple[int, int]) -> Box:
    """Where :func:`padded` shows a picture of ``width`` x ``height`` pixels in an image of ``size``."""
    h, w = size
    scale = min(h / height, w / width)
    return central_box(w, h, max(1, round(width * scale)), max(1, round(height * scale)))


def squashed(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture resized to ``size`` (height, width), its proportions lost."""
    height, width = size
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR)
