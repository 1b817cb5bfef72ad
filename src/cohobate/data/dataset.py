"""A data set: a training split, a validation split, a test split that is read when asked for, class names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import Shape, Task
from .pictures import Reading
from .scenes import Scenes
from .stored import Picture, described

Channels = tuple[float, ...]
"""A number for each channel."""


def _check_labels(kind: str, images: int, y: Tensor) -> None:
    if y.dtype != torch.int64 or y.shape != (images,):
        raise ValueError(
            f"{kind}.y must be int64 of shape ({images},), one label an image; "
            f"got {y.dtype} of shape {tuple(y.shape)}"
        )


@dataclass(frozen=True, eq=False)
class Images:
    """Small images, held in memory.

    Attributes:
        x: (N, H, W, C), uint8, on the CPU.
        y: (N,), int64 class ids.

    Raises:
        ValueError: other types or shapes.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.dtype != torch.uint8 or self.x.dim() != 4 or self.x.shape[-1] < 1:
            raise ValueError(
                f"Images.x must be uint8 of shape (N, H, W, C), got {self.x.dtype} of {tuple(self.x.shape)}"
            )
        _check_labels("Images", len(self.x), self.y)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an image."""
        _, height, width, channels = self.x.shape
        return channels, height, width

    def subset(self, index: Tensor) -> Images:
        """The images at these rows, in this order."""
        return Images(self.x[index], self.y[index])


@dataclass(frozen=True, eq=False)
class Files:
    """Large images, left on disk and decoded by workers.

    Attributes:
        paths: N image files, or rows of a table.
        y: (N,), int64 class ids.
        size: (height, width) that the network sees, in pixels.
        reading: how a picture becomes an image of this size.

    Raises:
        ValueError: labels of another type or number.
    """

    paths: tuple[Picture, ...]
    y: Tensor
    size: tuple[int, int]
    reading: Reading = Reading()  # noqa: RUF009  it is frozen

    def __post_init__(self) -> None:
        _check_labels("Files", len(self.paths), self.y)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an image as the network sees it."""
        return self.reading.channels, *self.size

    def subset(self, index: Tensor) -> Files:
        """The files at these rows, in this order."""
        return replace(self, paths=tuple(self.paths[i] for i in index.tolist()), y=self.y[index])


Labelled = Images | Files
"""Images with one label each."""
Split = Labelled | Scenes


def labelled(split: Split, wanted: str) -> Labelled:
    """A split of images with one label each.

    Args:
        split: any.
        wanted: for what it must be one, for the message: "--class-weights balanced".

    Raises:
        ValueError: its labels are masks.
    """
    if isinstance(split, Scenes):
        raise ValueError(f"{wanted} is for images with one label each, and these have masks; leave it out")
    return split


def strata(split: Split) -> Tensor:
    """(N,) ids: the share of each is kept where rows are drawn; of pictures with masks all are alike."""
    return torch.zeros(len(split), dtype=torch.int64) if isinstance(split, Scenes) else split.y


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of a data set, and how its images are augmented and normalised.

    Attributes:
        name: its name in reports.
        classes: K names; label k is ``classes[k]``.
        train: images to learn from.
        val: images for choosing epochs and options, or None.
        test: reads the test split, or None. A function, so that the split is read once, at the end.
        mean: of each channel of the training images, in units of 0 to 1.
        std: the same of the standard deviation; 1 for a channel that never varies.
        crop: zero pixels around a small image before its random crop.
        flip: whether a mirrored image keeps its label.
        notes: remarks on the data for readers of the results.
        resized_crop: whether a large image is shown as a random part of it, resized; else as its centre.
        averaged_from: (height, width) of the images before they were averaged over areas; None if not.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    test: Callable[[], Split] | None
    mean: Channels
    std: Channels
    crop: int
    flip: bool
    notes: tuple[str, ...] = ()
    resized_crop: bool = True
    averaged_from: tuple[int, int] | None = None

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the training images."""
        return self.train.shape

    @property
    def task(self) -> Task:
        """What its labels are for."""
        return "segmentation" if isinstance(self.train, Scenes) else "classification"


def channel_statistics(x: Tensor) -> tuple[Channels, Channels]:
    """Mean and standard deviation (of the population) of each channel, in units of 0 to 1.

    Exact: sums of integers, so that neither the order nor the number of images costs digits.

    Args:
        x: (N, H, W, C), uint8.
    """
    value = torch.arange(256)
    pairs = []
    for channel in x.unbind(-1):
        count = torch.bincount(channel.reshape(-1), minlength=256)
        n, total, squares = (int((count * value**power).sum()) for power in (0, 1, 2))
        pairs.append((total / n / 255, (n * squares - total**2) ** 0.5 / n / 255 or 1.0))
    mean, std = zip(*pairs, strict=True)
    return mean, std


def stratified_rows(y: Tensor, wanted: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Rows drawn at random, so many of each class, and the rows that are left; both ascending.

    Args:
        y: (N,) ids.
        wanted: (K,) rows to draw of each class.
        seed: of the draw.
    """
    # RandomState, because its stream is frozen for good: a split must not move with a release.
    keys = np.random.RandomState(seed).random_sample(len(y))
    by_class = torch.from_numpy(np.lexsort((keys, y.numpy())))
    sizes = torch.bincount(y, minlength=len(wanted))
    place = torch.arange(len(y)) - (sizes.cumsum(0) - sizes)[y[by_class]]
    chosen = place < wanted[y[by_class]]
    return by_class[chosen].sort().values, by_class[~chosen].sort().values


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Move a share of each class from train to val, at least one image a class.

    A data set that has a val split stays as it is, and so it does for ``fraction`` 0. Mean and
    standard deviation of images in memory are measured again on those that remain.

    Args:
        dataset: any.
        fraction: share of each class, 0 <= fraction < 1.
        seed: of the draw.

    Raises:
        ValueError: a fraction out of range, or a class with a single image.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be at least 0 and less than 1, got {fraction}")
    if dataset.val is not None or fraction == 0:
        return dataset
    y = strata(dataset.train)
    sizes = torch.bincount(y, minlength=len(dataset.classes))
    if 1 in sizes:
        whose = f"class {dataset.classes[sizes.tolist().index(1)]!r} of {dataset.name}"
        whose = dataset.name if dataset.task == "segmentation" else whose
        raise ValueError(
            f"{whose} has one training image, none could be held out; give more images, a val split, or "
            "hold out none: --val-fraction 0, in Python fraction=0"
        )
    wanted = (sizes * fraction).round().long().clamp(min=1).minimum(sizes - 1).clamp(min=0)
    held_out, rest = stratified_rows(y, wanted, seed)
    return _with_train(dataset, dataset.train.subset(rest), val=dataset.train.subset(held_out))


def limit(dataset: Dataset, images: int, seed: int) -> Dataset:
    """Keep exactly so many training images, each class in proportion (largest remainders).

    Mean and standard deviation of images in memory are measured again on those that remain.

    Args:
        dataset: any.
        images: how many training images to keep.
        seed: of the draw.

    Raises:
        ValueError: fewer than 1, or more than there are.
    """
    total = len(dataset.train)
    if not 1 <= images <= total:
        raise ValueError(f"cannot limit {dataset.name} to {images} images: it has {total}, give 1 to {total}")
    y = strata(dataset.train)
    shares = torch.bincount(y, minlength=len(dataset.classes)) * images
    wanted = shares // total
    missing = images - int(wanted.sum())
    wanted[(shares % total).argsort(descending=True, stable=True)[:missing]] += 1
    rows, _ = stratified_rows(y, wanted, seed)
    return _with_train(dataset, dataset.train.subset(rows))


def _with_train(dataset: Dataset, train: Split, **changes: Any) -> Dataset:
    if isinstance(train, Images):
        changes["mean"], changes["std"] = channel_statistics(train.x)
    return replace(dataset, train=train, **changes)


def fingerprint(dataset: Dataset, unlabelled: Split | None = None) -> str:
    """32 hex digits that change with the classes, the training split or the validation split.

    So they do with images that are learned from without labels, where there are any.

    Images count by pixels and labels; files by relative path, size in bytes and label. The test
    split is left out: it is not read before the end.
    """
    digest = hashlib.blake2b(repr(dataset.classes).encode(), digest_size=16)
    splits = [("train", dataset.train), ("val", dataset.val)]
    splits += [("unlabelled", unlabelled)] if unlabelled is not None else []
    for name, split in splits:
        digest.update(f"{name} {type(split).__name__}".encode())
        if isinstance(split, Labelled):
            digest.update(split.y.contiguous().numpy().data)
        if isinstance(split, Images):
            digest.update(repr(tuple(split.x.shape)).encode())
            digest.update(split.x.contiguous().numpy().data)
        elif isinstance(split, Files):
            # Names need not be UTF-8.
            digest.update(described(split.paths).encode("utf-8", "surrogateescape"))
        elif isinstance(split, Scenes):
            digest.update(repr(split.coding).encode())
            for files in (split.paths, split.masks):
                digest.update(described(files).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
