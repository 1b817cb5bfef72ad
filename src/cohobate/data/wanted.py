"""How a run wants pictures to be read."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.sizes import Size
from .pictures import Reading, changed
from .reader import Care


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

    def refuse_for_pictures(self, whose: str) -> None:
        """Check that nothing is wanted that is for pictures in files only.

        Raises:
            ValueError: something is.
        """
        given = [f"{key} {value}" for key, value in changed(self.reading).items()]
        given += ["skip_unreadable"] if self.care.skip else []
        if given:
            raise ValueError(f"{given[0]} is for pictures in files; {whose} is read as it is, leave it out")
