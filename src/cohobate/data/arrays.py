"""Data sets of one's own arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    name: str = "arrays",
) -> Dataset:
    """A data set of your own images; they are copied.

    Args:
        x: training images, uint8: (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W).
        y: (N,) integer ids from 0.
        val: (x, y) to choose by.
        test: (x, y) to report on.
        classes: K names; None names them "0" to "K-1".
        crop: zero pixels around an image before its random crop; None for no crop.
        flip: whether a mirrored image keeps its label.
        name: its name in reports.

    Raises:
        ValueError: floating images, a shape that is not an image's, splits of unequal image size,
            labels that are no ids of the classes, or a negative crop.
    """
    if crop is not None and crop < 0:
        raise ValueError(f"crop must be 0 or more, got {crop}")
    train = _pair("train", (x, y))
    names = tuple(map(str, range(int(train.y.max()) + 1))) if classes is None else tuple(classes)
    splits = {"train": train}
    splits |= {part: _pair(part, pair) for part, pair in (("val", val), ("test", test)) if pair is not None}
    for part, split in splits.items():
        _check(part, split, len(names), train)
    mean, std = channel_statistics(train.x)
    read_test = (lambda: splits["test"]) if "test" in splits else None
    return Dataset(name, names, train, splits.get("val"), read_test, mean, std, crop or 0, flip)


def _check(part: str, split: Images, classes: int, train: Images) -> None:
    low, high = int(split.y.min()), int(split.y.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels of {part} run from {low} to {high}, {classes} classes need 0 to {classes - 1}"
        )
    if split.shape != train.shape:
        raise ValueError(f"images of {part} are {split.shape[1:]}, those of train {train.shape[1:]}")


def _pair(part: str, pair: Pair) -> Images:
    x, y = (_tensor(f"{kind} of {part}", value) for kind, value in zip("xy", pair, strict=True))
    if y.dim() != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"y of {part} must be integer ids of shape (N,), got {y.dtype} of {tuple(y.shape)}")
    x = _channels_last(part, x)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{part} has {len(x)} images and {len(y)} labels; give as many, and at least one")
    return Images(x, y.long())


def _channels_last(part: str, x: Tensor) -> Tensor:
    if x.dtype != torch.uint8:
        raise ValueError(f"x of {part} must be uint8, 0 to 255, got {x.dtype}; it is normalised later")
    if x.dim() == 3:
        x = x[..., None]
    elif x.dim() == 4 and x.shape[-1] not in (1, 3):
        x = x.permute(0, 2, 3, 1)
    if x.dim() != 4 or x.shape[-1] not in (1, 3) or 0 in x.shape[1:]:
        raise ValueError(
            f"x of {part} must be (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W), got {tuple(x.shape)}"
        )
    return x.expand(-1, -1, -1, 3).contiguous()


def _tensor(name: str, value: Array) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    return torch.from_numpy(array)
