"""Images as a network is shown them, in bytes: neither augmented nor normalised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .dataset import Images, Split
from .pictures import decode
from .views import whole


def pixels(split: Split, rows: Sequence[int]) -> Tensor:
    """Some images of a split, uint8 (N, C, H, W), in the memory that evaluation has: channels_last.

    Raises:
        PictureError: a file cannot be decoded.
    """
    if isinstance(split, Images):
        return split.x[torch.tensor(rows, dtype=torch.int64)].permute(0, 3, 1, 2)
    channels, height, width = split.shape
    shown = (whole(decode(split.paths[row], split.reading), split.size, split.reading) for row in rows)
    each = [torch.from_numpy(np.array(picture)).view(height, width, channels) for picture in shown]
    return torch.stack(each).permute(0, 3, 1, 2)
