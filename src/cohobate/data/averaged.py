"""Images in memory made smaller, once, by averaging over areas."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..config.sizes import Size, shown_size
from .areas import PART, area_means
from .dataset import Dataset, Images, channel_statistics


def averaged(dataset: Dataset, size: Size | None) -> Dataset:
    """A data set in memory with its images at a smaller size, and mean and standard deviation of those.

    A pixel is the mean over its area, rounded; the padding of random crops shrinks in proportion.

    Args:
        dataset: any.
        size: (height, width) in pixels; None, or the size that it has: it stays as it is.

    Raises:
        ValueError: a larger size than the images have.
    """
    if size is None or dataset.shape[1:] == size:
        return dataset
    own = dataset.shape[1], dataset.shape[2]
    require_smaller(dataset.name, own, size)
    if not isinstance(dataset.train, Images):
        raise ValueError(
            f"images of {dataset.name} are made smaller in memory, from {shown_size(own)} to "
            f"{shown_size(size)} pixels: leave out crop resized, which leaves them in their files"
        )
    train, val, test = _smaller(dataset.train, size), dataset.val, dataset.test
    mean, std = channel_statistics(train.x)
    return replace(
        dataset,
        train=train,
        val=_smaller(val, size) if isinstance(val, Images) else val,
        test=None if test is None else lambda: _smaller(test(), size),  # type: ignore[arg-type]
        mean=mean,
        std=std,
        crop=max(1, dataset.crop * min(size) // min(own)) if dataset.crop else 0,
        notes=(*dataset.notes, *averaging(own, size)),
        averaged_from=own,
    )


def if_larger(dataset: Dataset, size: Size) -> Dataset:
    """Images in memory at this size, if they are as large; else as they are."""
    larger = dataset.shape[1] >= size[0] and dataset.shape[2] >= size[1]
    return averaged(dataset, size) if larger else dataset


def require_smaller(name: str, own: Size, size: Size | None) -> None:
    """Check that images of one size, ``own``, are not to be made larger.

    Raises:
        ValueError: they are.
    """
    if size is not None and (size[0] > own[0] or size[1] > own[1]):
        raise ValueError(
            f"images of {name} are {shown_size(own)} pixels and only made smaller, got image_size "
            f"{shown_size(size)}"
        )


def averaging(stored: Size, size: Size) -> tuple[str, ...]:
    """A note that images are averaged, where they are."""
    return (f"images are averaged from {shown_size(stored)} to {shown_size(size)} pixels",) * (stored != size)


def _smaller(images: Images, size: Size) -> Images:
    return Images(torch.cat([area_means(part, size) for part in images.x.split(PART)]), images.y)
