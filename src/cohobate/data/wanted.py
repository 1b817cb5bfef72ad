"""How a run wants pictures to be read."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.sizes import Size
from .folder import Care
from .pictures import Reading


@dataclass(frozen=True)
class Wanted:
    """How a run wants pictures to be read.

    Attributes:
        size: (height, width) that the network sees, in pixels; None: as the data set has it.
        reading: how a picture becomes an image of that size.
        care: what is done about files that cannot be read.
    """

    size: Size | None = None
    reading: Reading = Reading()  # noqa: RUF009  it is frozen
    care: Care = Care()  # noqa: RUF009  it is frozen
