"""Data sets of one's own arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config.words import count
from .channels import in_channels
from .dataset import Dataset, Images, channel_statistics

Array = np.ndarray | Tensor | Sequence[Any]
Pair = tuple[Array, Array]


def arrays(
    x: Array,
    y: Array,
    *,
    val: Pair | None = None,
    test: Pair | None = None,
    classes: Sequence[str] | None = None,
    crop: int | None = None,
    flip: bool = False,
    channels: int | None = None,
    name: str = "arrays",
) -> Dataset:
    """A data set of your own images; they are copied.

    Args:
        x: training images, uint8: (N, H, W), (N, H, W, C) or (N, C, H, W), C being 1, 3 or ``channels``.
        y: (N,) integer ids from 0.
        val: (x, y) to choose by.
        test: (x, y) to report on.
        classes: K names; None names them "0" to "K-1".
        crop: zero pixels around an image before its random crop; None for no crop.
        flip: whether a mirrored image keeps its label.
        channels: of the images as they are learned from: 1 keeps grey images grey and makes RGB grey, another
            number is that of ``x``; None for 3, grey images repeated.
        name: its name in reports.

    Raises:
        ValueError: floating images, a shape that is not an image's, splits of unequal image size,
            labels that are no ids of the classes, or a negative crop.
    """
    if crop is not None and crop < 0:
        raise ValueError(f"crop must be 0 or more, got {crop}")
    if channels is not None and channels < 1:
        raise ValueError(f"channels must be 1 or more, got {channels}")
    train = _pair("train", (x, y), channels)
    names = tuple(map(str, range(int(train.y.max()) + 1))) if classes is None else tuple(classes)
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"class {twice[0]!r} stands {names.count(twice[0])} times in classes")
    splits = {"train": train}
    splits |= {
        part: _pair(part, pair, channels) for part, pair in (("val", val), ("test", test)) if pair is not None
    }
    for part, split in splits.items():
        _check(part, split, len(names), train)
    mean, std = channel_statistics(train.x)
    read_test = (lambda: splits["test"]) if "test" in splits else None
    without = len(names) - len(train.y.unique())
    notes = (f"{without} of {count(len(names), 'class')} have no training image",) if without else ()
    return Dataset(name, names, train, splits.get("val"), read_test, mean, std, crop or 0, flip, notes=notes)


def _check(part: str, split: Images, classes: int, train: Images) -> None:
    low, high = int(split.y.min()), int(split.y.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels of {part} run from {low} to {high}, {classes} classes need 0 to {classes - 1}"
        )
    if split.shape != train.shape:
        raise ValueError(f"images of {part} are {split.shape[1:]}, those of train {train.shape[1:]}")


def _pair(part: str, pair: Pair, channels: int | None) -> Images:
    x, y = (_tensor(f"{kind} of {part}", value) for kind, value in zip("xy", pair, strict=True))
    if y.dim() > 2:
        raise ValueError(
            f"y of {part} has the shape {tuple(y.shape)}, and arrays take one label for each image, (N,): "
            "masks, a class for every pixel, are read from folders with images/ and masks/"
        )
    if y.dim() != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"y of {part} must be integer ids of shape (N,), got {y.dtype} of {tuple(y.shape)}")
    x = in_channels(_channels_last(part, x, channels), channels or 3, part)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{part} has {len(x)} images and {len(y)} labels; give as many, and at least one")
    return Images(x, y.long())


def _channels_last(part: str, x: Tensor, channels: int | None) -> Tensor:
    """(N, H, W, C), whichever axis the channels are: the one of as many as asked for, or else of 1 or 3."""
    if x.dtype != torch.uint8:
        raise ValueError(f"x of {part} must be uint8, 0 to 255, got {x.dtype}; it is normalised later")
    if x.dim() == 3:
        x = x[..., None]
    if x.dim() == 4 and 0 not in x.shape[1:]:
        for numbers in ((channels,), (1, 3)):
            if x.shape[-1] in numbers:
                return x.contiguous()
            if x.shape[1] in numbers:
                return x.permute(0, 2, 3, 1).contiguous()
    wanted = " or ".join(map(str, sorted({1, 3, channels or 3})))
    raise ValueError(
        f"x of {part} must be (N, H, W), (N, H, W, {wanted}) or (N, {wanted}, H, W), got {tuple(x.shape)}; "
        "channels=C says which axis holds another number of channels"
    )


def _tensor(name: str, value: Array) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    return torch.from_numpy(array)
