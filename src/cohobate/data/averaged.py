"""Images in memory made smaller, once, by averaging over areas."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..config.sizes import Size, shown_size
from .dataset import Dataset, Images, channel_statistics

PART = 1024
"""Images that are averaged at a time."""


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
    if size[0] > own[0] or size[1] > own[1]:
        raise too_large(dataset.name, own, size)
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
    )


def too_large(name: str, own: Size, size: Size) -> ValueError:
    """That images are not made larger."""
    return ValueError(
        f"images of {name} are {shown_size(own)} pixels and only made smaller, got image_size "
        f"{shown_size(size)}"
    )


def averaging(stored: Size, size: Size) -> tuple[str, ...]:
    """A note that images are averaged, where they are."""
    return (f"images are averaged from {shown_size(stored)} to {shown_size(size)} pixels",) * (stored != size)


def _smaller(images: Images, size: Size) -> Images:
    return Images(torch.cat([area_means(part, size) for part in images.x.split(PART)]), images.y)


def area_means(x: Tensor, size: Size) -> Tensor:
    """(N, H, W, C) to (N, h, w, C): sums of whole numbers, so that it is exact; a half is rounded up."""
    if x.shape[1:3] == size:
        return x
    n, height, width, channels = x.shape
    rows, columns = _shares(height, size[0]), _shares(width, size[1])
    sums = rows @ x.double().reshape(n, height, width * channels)
    sums = columns @ sums.view(n * size[0], width, channels)
    return sums.div(height * width).add(0.5).floor().to(torch.uint8).view(n, *size, channels)


def _shares(have: int, wanted: int) -> Tensor:
    """(wanted, have): how much of each pixel lies in each larger one, in units of 1 / wanted of a pixel."""
    start = torch.arange(wanted)[:, None] * have
    pixel = torch.arange(have)[None] * wanted
    overlap = (start + have).minimum(pixel + wanted) - start.maximum(pixel)
    return overlap.clamp(min=0).double()
