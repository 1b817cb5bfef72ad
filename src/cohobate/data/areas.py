"""Means over areas, by which images are made smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config.sizes import Size

PART = 1024
"""Images that are averaged at a time."""


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
