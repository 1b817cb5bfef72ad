"""Images in memory made smaller, once, by averaging over areas."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from ..config.sizes import Size, shown_size
from .dataset import Dataset, Images, channel_statistics

PART = 4096
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
        raise ValueError(
            f"images of {dataset.name} are {shown_size(own)} pixels and only made smaller, got image_size "
            f"{shown_size(size)}"
        )
    assert isinstance(dataset.train, Images)
    train, val, test = _smaller(dataset.train, size), dataset.val, dataset.test
    mean, std = channel_statistics(train.x)
    return replace(
        dataset,
        train=train,
        val=_smaller(val, size) if isinstance(val, Images) else val,
        test=None if test is None else lambda: _smaller(test(), size),  # type: ignore[arg-type]
        mean=mean,
        std=std,
        crop=round(dataset.crop * min(size) / min(own)),
        notes=(*dataset.notes, f"images are averaged from {shown_size(own)} to {shown_size(size)} pixels"),
    )


def _smaller(images: Images, size: Size) -> Images:
    parts = [
        F.adaptive_avg_pool2d(part.permute(0, 3, 1, 2).float(), size).round().to(torch.uint8)
        for part in images.x.split(PART)
    ]
    return Images(torch.cat(parts).permute(0, 2, 3, 1).contiguous(), images.y)
