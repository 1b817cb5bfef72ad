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
        in_memory: whether images of up to 64 pixels are decoded once and held in memory; else they stay in
            their files, so that random parts of the pictures can be shown.
    """

    size: Size | None = None
    reading: Reading = Reading()  # noqa: RUF009  it is frozen
    care: Care = Care()  # noqa: RUF009  it is frozen
    in_memory: bool = True

    def refuse_for_pictures(self, whose: str, *, archive: bool = False) -> None:
        """Check that nothing is wanted that is for pictures in files only.

        Args:
            whose: what is not in files, for the message.
            archive: whether it would be if it were unpacked.

        Raises:
            ValueError: something is.
        """
        # Other channels can be made of images in memory too.
        given = [f"{key} {value}" for key, value in changed(self.reading).items() if key != "channels"]
        given += ["skip_unreadable"] if self.care.skip else []
        given += [] if self.in_memory else ["crop resized"]
        if given:
            remedy = ": unpack it, or leave the option out" if archive else ", leave it out"
            raise ValueError(f"{given[0]} is for pictures in files; {whose} is read as it is{remedy}")
