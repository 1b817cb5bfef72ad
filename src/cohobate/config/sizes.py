"""Sizes of images in pixels: a side, or height and width."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

Size = tuple[int, int]
"""(height, width), in pixels."""


SPELLING = re.compile(r"\s*(-?\d+)\s*(?:(?:,|,?\s*x\s*,?)\s*(-?\d+)\s*)?", re.IGNORECASE)
"""``32``, or height and width: ``90,120``; ``90x120`` as names of runs have it, ``90 x 120`` as tables do."""


def _read(value: Any) -> int | Size | None:
    """One spelling for one size: a size of one number, or of two equal ones, is a side."""
    if value is None:
        return None
    given = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    found = SPELLING.fullmatch(given)
    if found is None:
        raise ValueError(f"a size is a side in pixels, as 32, or height,width, as 90,120; got {given}")
    height, width = int(found[1]), int(found[2] or found[1])
    if min(height, width) < 1:
        raise ValueError(f"a side in pixels is 1 or more, got {given}")
    return height if height == width else (height, width)


ImageSize = Annotated[int | Size | None, BeforeValidator(_read)]
"""An option: a side of square images, ``32``, or height and width, ``90,120`` or ``90x120``; or None."""


def size_of(side: int | Size) -> Size:
    """(height, width)."""
    return (side, side) if isinstance(side, int) else side


def shown_size(side: int | Size) -> str:
    """``32 x 32``."""
    height, width = size_of(side)
    return f"{height} x {width}"
