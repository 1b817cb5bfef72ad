"""The operations of AutoAugment on a batch of images, with an amount for each image.

All are functions of images, uint8 (B, H, W, 3), and amounts, float64 (B,), and give new images; those
that have no amount leave it unread. They are Pillow's operations to the bit (``ImageOps``, ``ImageEnhance``,
``Image.transform`` with nearest sampling), computed for a whole batch on its device.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREY = 128
"""Of pixels that come from outside the image."""

RED, GREEN, BLUE, HALF = 19595, 38470, 7471, 1 << 15
"""Luma of ITU-R 601-2 in units of 2^-16, and the offset that rounds it."""

# ---------------------------------------------------------------- where pixels come from


def shear_x(x: Tensor, amount: Tensor) -> Tensor:
    """Row r moves by ``amount * r`` pixels along its line; the corner at the top left stays."""
    return warp(x, _matrix(amount, b=amount))


def shear_y(x: Tensor, amount: Tensor) -> Tensor:
    """Column c moves by ``amount * c`` pixels along itself; the corner at the top left stays."""
    return warp(x, _matrix(amount, d=amount))


def translate_x(x: Tensor, amount: Tensor) -> Tensor:
    """Moved sideways by a share of the width."""
    return warp(x, _matrix(amount, c=amount * x.shape[2]))


def translate_y(x: Tensor, amount: Tensor) -> Tensor:
    """Moved up or down by a share of the height."""
    return warp(x, _matrix(amount, f=amount * x.shape[1]))


def rotate(x: Tensor, amount: Tensor) -> Tensor:
    """Turned around the middle by so many degrees, against the clock."""
    angle = torch.deg2rad(amount)
    cos, sin = angle.cos(), angle.sin()
    middle_x, middle_y = x.shape[2] / 2, x.shape[1] / 2
    return warp(
        x,
        _matrix(
            amount,
            a=cos,
            b=-sin,
            c=middle_x - cos * middle_x + sin * middle_y,
            d=sin,
            e=cos,
            f=middle_y - sin * middle_x - cos * middle_y,
        ),
    )


def _matrix(amount: Tensor, **entries: Tensor) -> Tensor:
    """(B, 6) matrix of an affine map: the identity, with these entries replaced."""
    identity = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 1.0, "f": 0.0}
    return torch.stack([entries.get(k, torch.full_like(amount, v)) for k, v in identity.items()], 1)


def warp(x: Tensor, matrix: Tensor) -> Tensor:
    """Each pixel is the one that lies at (a u + b v + c, d u + e v + f), u to the right and v down.

    Nearest sampling at the centres of the pixels; what lies outside is grey (128). Coordinates are
    whole units of 2^-16, as Pillow computes them.

    Args:
        x: (B, H, W, 3), uint8.
        matrix: (B, 6): a to f.
    """
    n, h, w, _ = x.shape
    a, b, c, d, e, f = (matrix * 65536).add(0.5).floor().long().view(n, 6, 1, 1).unbind(1)
    # From the middle of the first pixel on.
    origin = matrix[:, 2::3] + 0.5 * (matrix[:, 0::3] + matrix[:, 1::3])
    c, f = (origin * 65536).add(0.5).floor().long().view(n, 2, 1, 1).unbind(1)
    right = torch.arange(w, device=x.device)
    down = torch.arange(h, device=x.device)[:, None]
    column = (c + a * right + b * down) >> 16
    row = (f + d * right + e * down) >> 16
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    first = torch.arange(n, device=x.device).view(n, 1, 1) * (h * w)
    place = first + row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
    sampled = x.reshape(-1, 3).index_select(0, place.view(-1)).view_as(x)
    return sampled.masked_fill_(~inside[..., None], GREY)


# ---------------------------------------------------------------- between two images


def brightness(x: Tensor, amount: Tensor) -> Tensor:
    """From black (0) over the image (1) and on."""
    return blend(torch.zeros((), dtype=torch.uint8, device=x.device), x, amount)


def contrast(x: Tensor, amount: Tensor) -> Tensor:
    """From its mean grey (0) over the image (1) and on."""
    grey, pixels = luma(x), x.shape[1] * x.shape[2]
    total = grey.long().sum((1, 2), keepdim=True)
    return blend(((2 * total + pixels) // (2 * pixels))[..., None], x, amount)


def color(x: Tensor, amount: Tensor) -> Tensor:
    """From its shades of grey (0) over the image (1) and on."""
    return blend(luma(x)[..., None], x, amount)


def sharpness(x: Tensor, amount: Tensor) -> Tensor:
    """From smoothed (0) over the image (1) and on."""
    return blend(smoothed(x), x, amount)


def luma(x: Tensor) -> Tensor:
    """(B, H, W, 3) -> (B, H, W), int32."""
    red, green, blue = x.int().unbind(-1)
    return (RED * red + GREEN * green + BLUE * blue + HALF) >> 16


def smoothed(x: Tensor) -> Tensor:
    """The mean over 3 x 3 pixels, the middle one counted five times; the border stays as it is."""
    out = x.clone()
    if min(x.shape[1:3]) < 3:
        return out
    wide = x.to(torch.int16)
    across = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    total = across[:, :-2] + across[:, 1:-1] + across[:, 2:] + 4 * wide[:, 1:-1, 1:-1]
    out[:, 1:-1, 1:-1] = (2 * total + 13) // 26
    return out


def blend(zero: Tensor, one: Tensor, amount: Tensor) -> Tensor:
    """``zero + amount * (one - zero)``, cut to 0 to 255 and rounded down."""
    start = zero.float()
    share = amount.float().view(-1, 1, 1, 1)
    return (share * (one.float() - start) + start).clamp_(0, 255).to(torch.uint8)


# ---------------------------------------------------------------- from value to value


def posterize(x: Tensor, amount: Tensor) -> Tensor:
    """Keep only this number of the highest bits of each value."""
    dropped = (2 ** (8 - amount)).to(torch.uint8) - 1
    return x & ~dropped.view(-1, 1, 1, 1)


def solarize(x: Tensor, amount: Tensor) -> Tensor:
    """Values from this one on are inverted."""
    return torch.where(x >= amount.ceil().to(torch.int16).view(-1, 1, 1, 1), 255 - x, x)


def invert(x: Tensor, amount: Tensor) -> Tensor:
    """The negative."""
    return 255 - x


def autocontrast(x: Tensor, amount: Tensor) -> Tensor:
    """Each channel stretched so that it reaches from 0 to 255; a channel of one value stays."""
    planes = _planes(x)
    low, high = (v[..., None].double() for v in planes.aminmax(dim=-1))
    flat = low == high
    # Not ``255 / range``, which is the reciprocal times 255 and rounds twice.
    scale = torch.full_like(low, 255) / torch.where(flat, 1, high - low)
    values = torch.arange(256, dtype=torch.float64, device=x.device)
    table = (values * scale - low * scale).clamp_(0, 255)
    return _looked_up(planes, torch.where(flat, values, table).to(torch.uint8), x)


def equalize(x: Tensor, amount: Tensor) -> Tensor:
    """Each channel mapped so that its values are spread evenly; one of few values may stay."""
    planes = _planes(x)
    counts = torch.zeros(*planes.shape[:2], 256, dtype=torch.int32, device=x.device)
    counts.scatter_add_(2, planes, torch.ones((), dtype=torch.int32, device=x.device).expand(planes.shape))
    last = counts.gather(2, planes.amax(-1, keepdim=True))
    step = (planes.shape[-1] - last) // 255
    below = counts.cumsum(2) - counts
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    values = torch.arange(256, device=x.device)
    return _looked_up(planes, torch.where(step == 0, values, table).to(torch.uint8), x)


def _planes(x: Tensor) -> Tensor:
    """(B, H, W, 3) -> (B, 3, H W), int64."""
    return x.flatten(1, 2).transpose(1, 2).long()


def _looked_up(planes: Tensor, table: Tensor, x: Tensor) -> Tensor:
    """The values at ``planes`` in the table (B, 3, 256) of each channel, shaped as ``x``."""
    return table.gather(2, planes).transpose(1, 2).reshape(x.shape)
