"""The class of every pixel of a picture, at the picture's own size, as the evaluation counts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..config.colours import MOST_CLASSES
from ..data.pictures import Reading
from ..data.views import shown_box
from ..engine.measures.segmentation import named_at
from .predict_batches import Answered
from .predict_images import Name, Skipped


class Mask(NamedTuple):
    """What a network says of a picture.

    Attributes:
        row: number of the picture.
        classes: of each pixel, (H_i, W_i), uint8, at the picture's own size.
        shares: of each class in all pixels, (K,), float64.
    """

    row: int
    classes: Tensor
    shares: Tensor


class PredictedMasks(NamedTuple):
    """What a network that gives every pixel a class says of N pictures.

    Attributes:
        names: of each picture, its path as it was given, or its number.
        masks: of each picture, the position of the class of every pixel in ``classes``: uint8, (H_i, W_i), at
            the picture's own size, upright; of an array at the size of its images.
        classes: the K names.
        shares: of each class in the pixels of each picture, 0 to 1: (N, K), float64.
        skipped: the pictures that cannot be read; they are not among the N.
        notes: remarks: files of a folder that are not read, images that were named twice.
    """

    names: tuple[Name, ...]
    masks: tuple[Tensor, ...]
    classes: tuple[str, ...]
    shares: Tensor
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def masks_of(each: Answered, reading: Reading) -> Iterator[Mask]:
    """The masks of a batch, one after the other: they may be much larger than what the network sees.

    Args:
        each: logits (B, K, H, W).
        reading: that shows the whole of a picture, by which the images were made.
    """
    size = each.logits.shape[2], each.logits.shape[3]
    for row, logits, (height, width) in zip(each.rows, each.logits, each.sizes, strict=True):
        named = named_at(logits, shown_box(width, height, size, reading), (height, width))
        pixels = torch.bincount(named.flatten(), minlength=len(logits))
        yield Mask(row, named, pixels.double() / named.numel())


def check_masks(classes: Sequence[object], name: str) -> None:
    """Raise a ValueError if there are more classes than a mask of bytes can tell apart."""
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"{name} predicts {len(classes)} classes, and masks are of bytes, with {MOST_CLASSES} at most; "
            "from Python its logits are those of cohobate.load(...)(images)"
        )
