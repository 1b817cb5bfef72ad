"""Data sets by name, from a folder, or from arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dataset import Dataset, Images, channel_statistics, stratified_rows
from .sets.cifar import FORMS, find, load_cifar
from .sets.folder import load_folder

NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8, that come with scikit-learn; nothing to download",
    "cifar10": "CIFAR-10: 60,000 images, 32x32, 10 classes; the published files or archive",
    "cifar100": "CIFAR-100: 60,000 images, 32x32, 100 classes; the published files or archive",
}


def load_data(spec: str, root: Path, image_size: int | None = None) -> Dataset:
    """The data set of this name, or in this folder.

    Args:
        spec: one of :data:`NAMES`; or the path of a folder, of images in ``train/<class>/`` or with
            one of the CIFARs in it.
        root: where the files of a name are.
        image_size: side that the images of a folder are resized to, in pixels; None lets them decide.

    Raises:
        ValueError: an unknown name, damaged data, or a size for data that has one.
        FileNotFoundError: nothing is there.
    """
    if spec not in NAMES:
        return _load_path(spec, image_size)
    _refuse_size(spec, image_size)
    return _digits() if spec == "digits" else load_cifar(spec, root)


def _load_path(spec: str, image_size: int | None) -> Dataset:
    path = Path(spec).expanduser()
    separators = [s for s in (os.sep, os.altsep) if s]
    if not path.is_dir() and not any(s in spec for s in separators):
        raise ValueError(
            f"unknown data set {spec!r}; the names are {', '.join(NAMES)}, "
            f"and a folder of images is given by its path (./{spec})"
        )
    held = [name for name in FORMS if find(name, path) is not None]
    if len(held) > 1:
        raise ValueError(f"{path} holds {' and '.join(held)}; ask for one by name, with this folder as root")
    if held:
        _refuse_size(held[0], image_size)
        return load_cifar(held[0], path)
    return load_folder(path, image_size)


def _refuse_size(name: str, image_size: int | None) -> None:
    if image_size is not None:
        raise ValueError(f"image_size {image_size} is for folders of images; {name} has a size of its own")


# ---------------------------------------------------------------- digits


def _digits() -> Dataset:
    train = _digits_split(test=False)
    mean, std = channel_statistics(train.x)
    classes = tuple(str(digit) for digit in range(10))
    test = partial(_digits_split, test=True)
    return Dataset("digits", classes, train, None, test, mean, std, crop=1, flip=False)


def _digits_split(test: bool) -> Images:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    y = torch.from_numpy(labels).long()
    grey = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 8, 8, 1)
    fifth = (torch.bincount(y) * 0.2).round().long()
    held, kept = stratified_rows(y, fifth, seed=0)
    return Images(grey.expand(-1, -1, -1, 3).contiguous(), y).subset(held if test else kept)


# ---------------------------------------------------------------- arrays

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
        name: what reports call it.

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
    held = (lambda: splits["test"]) if "test" in splits else None
    return Dataset(name, names, train, splits.get("val"), held, mean, std, crop or 0, flip)


def _check(part: str, split: Images, classes: int, train: Images) -> None:
    low, high = int(split.y.min()), int(split.y.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels of {part} run from {low} to {high}, {classes} classes need 0 to {classes - 1}"
        )
    if split.x.shape[1:3] != train.x.shape[1:3]:
        raise ValueError(
            f"images of {part} are {tuple(split.x.shape[1:3])}, those of train {tuple(train.x.shape[1:3])}"
        )


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


def _tensor(what: str, value: Array) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numbers, got {array.dtype}")
    return torch.from_numpy(array)
