"""Sizes of images in pixels: a side, or height and width."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

Size = tuple[int, int]
"""(height, width), in pixels."""


def _one_side(value: Any) -> Any:
    """A size of one number, or of two equal ones, is a side: one spelling for one size."""
    if not isinstance(value, list | tuple):
        return value
    if not 1 <= len(value) <= 2:
        raise ValueError(f"a size is a side in pixels, or height,width; got {','.join(map(str, value))}")
    return value[0] if value[0] == value[-1] else value


def _above_0(value: int | Size | None) -> int | Size | None:
    if value is not None and min(size_of(value)) < 1:
        raise ValueError(f"a side in pixels is 1 or more, got {shown_size(value)}")
    return value


ImageSize = Annotated[int | Size | None, BeforeValidator(_one_side), AfterValidator(_above_0)]
"""An option: a side of square images, ``32``, or height and width, ``90,120``; or None."""


def size_of(side: int | Size) -> Size:
    """(height, width)."""
    return (side, side) if isinstance(side, int) else side


def shown_size(side: int | Size) -> str:
    """``32 x 32``."""
    height, width = size_of(side)
    return f"{height} x {width}"
