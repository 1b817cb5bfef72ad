"""Images of another number of channels: grey from RGB, and three equal ones from grey."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .augment.operations import luma
from .dataset import Dataset, Images, Split, channel_statistics


def in_channels(x: Tensor, channels: int, whose: str) -> Tensor:
    """The images in this number of channels.

    RGB becomes grey by the luma of ITU-R 601-2, as in Pillow; grey is repeated three times.

    Args:
        x: (N, H, W, C), uint8.
        channels: wanted.
        whose: whose images they are, for the message.

    Returns:
        (N, H, W, channels), uint8.

    Raises:
        ValueError: any other change of the number.
    """
    have = x.shape[-1]
    if have == channels:
        return x
    if (have, channels) == (3, 1):
        return luma(x)[..., None].to(x.dtype)
    if (have, channels) == (1, 3):
        return x.expand(-1, -1, -1, 3).contiguous()
    raise ValueError(
        f"images of {whose} have {have} channels and cannot be turned into {channels}; only RGB can be "
        f"turned into 1 and grey images into 3; give channels {have}"
    )


def with_channels(dataset: Dataset, channels: int | None) -> Dataset:
    """A data set in memory with its images in this number of channels; None leaves them as they are.

    Raises:
        ValueError: see :func:`in_channels`.
    """
    if channels is None or channels == dataset.shape[0]:
        return dataset

    def converted(split: Split) -> Images:
        if not isinstance(split, Images):
            raise ValueError(f"{dataset.name} is read from files; read them with channels={channels}")
        return Images(in_channels(split.x, channels, dataset.name), split.y)

    read_test = dataset.test
    train = converted(dataset.train)
    mean, std = channel_statistics(train.x)
    return replace(
        dataset,
        train=train,
        val=None if dataset.val is None else converted(dataset.val),
        test=None if read_test is None else lambda: converted(read_test()),
        mean=mean,
        std=std,
    )
