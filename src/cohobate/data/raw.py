"""Images as a network is shown them, in bytes: neither augmented nor normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .dataset import Images, Split
from .pictures import Reading, decode
from .scenes import Scenes
from .views import uncut, whole


def spread(count: int, wanted: int) -> list[int]:
    """So many of ``count`` rows, evenly spaced from the first to the last, or all if there are fewer."""
    return torch.linspace(0, count - 1, min(wanted, count)).round().long().tolist()


def image(picture: Image.Image, size: tuple[int, int], reading: Reading) -> Tensor:
    """A picture of any size as it is evaluated, uint8 (H, W, C), of ``size`` (height, width)."""
    return torch.from_numpy(np.array(whole(picture, size, reading))).view(*size, reading.channels)


def pixels(split: Split, rows: Sequence[int]) -> Tensor:
    """Some images of a split, uint8 (N, C, H, W), in the memory that evaluation has: channels_last.

    Raises:
        PictureError: a file cannot be decoded.
    """
    if isinstance(split, Images):
        return split.x[torch.tensor(rows, dtype=torch.int64)].permute(0, 3, 1, 2)
    size = split.size
    reading = uncut(split.reading) if isinstance(split, Scenes) else split.reading
    each = [image(decode(split.paths[row], reading), size, reading) for row in rows]
    return torch.stack(each).permute(0, 3, 1, 2)
