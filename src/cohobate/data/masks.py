"""Mask files of segmentation: the class of every pixel of a picture.

A mask holds numbers (grey of 8 or 16 bits, one bit, or the indices of a palette) or colours (RGB). What they
mean is said by a :class:`cohobate.data.scenes.Coding`. Grey that a program has saved as RGB is read as grey,
where no colours of classes are known. A palette that gives an index the colour of another class is refused:
programs that reduce the colours of a picture number them anew in each file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from PIL import Image

from ..config.text import shown
from ..config.words import count
from .pictures import PictureError, is_deep, reason
from .scenes import Coding, Colour

LISTED = 8
"""Numbers or colours that a message lists."""


class UnknownError(ValueError):
    """A mask holds a number or a colour that no class has.

    Attributes:
        value: the number, or the colour (#rrggbb).
    """

    def __init__(self, message: str, value: str) -> None:
        super().__init__(message)
        self.value = value


@final
class Masks:
    """Reads mask files of one coding.

    Args:
        coding: what their pixels mean.
    """

    def __init__(self, coding: Coding) -> None:
        self.coding = coding
        self._classes = np.full(max(coding.ids, default=0) + 1, -1, np.int16)
        self._classes[list(coding.ids)] = list(coding.ids.values())
        colours = sorted((_code(*colour), number) for colour, number in coding.colours.items())
        self._codes = np.array([code for code, _ in colours], np.int64)
        self._of_codes = np.array([number for _, number in colours], np.uint8)

    def __call__(self, path: Path) -> np.ndarray:
        """The class of every pixel, (H, W), uint8; :data:`cohobate.data.scenes.VOID` where it is not counted.

        Raises:
            PictureError: it cannot be decoded, holds a number or a colour that no class has (its cause is an
                :class:`UnknownError`), or its palette paints a number in the colour of another class.
        """
        try:
            held = _held(path)
            self._check_palette(held)
            return self._classed(held.pixels)
        except PictureError:
            raise
        except Exception as error:
            raise PictureError(f"mask {shown(path)}: {reason(error)}", reason(error)) from error

    def _classed(self, found: np.ndarray) -> np.ndarray:
        if found.ndim == 3 and self.coding.colours:
            return self._of_colours(found)
        if found.ndim == 3:
            found = _grey(found)
        return self._of_numbers(found)

    def _check_palette(self, held: Held) -> None:
        """Raise a ValueError if an index that occurs has the colour of another class than its number."""
        ids, colours = self.coding.ids, self.coding.colours
        wrong = {
            index: colour
            for index, colour in held.palette.items()
            if colour in colours and ids.get(index) != colours[colour]
        }
        if not wrong:
            return
        counts = np.bincount(held.pixels.reshape(-1), minlength=256)
        for index, colour in wrong.items():
            if counts[index]:
                others = _listed(number for number, label in ids.items() if label == colours[colour])
                raise ValueError(
                    f"its palette paints the number {index} in {shown_colour(colour)}, which is the colour "
                    f"of number {others}; save it in RGB colours, or in grey numbers of classes"
                )

    def _of_numbers(self, found: np.ndarray) -> np.ndarray:
        last = len(self._classes) - 1
        classes = self._classes.take(found, mode="clip")
        wrong = classes < 0
        if last < np.iinfo(found.dtype).max:
            wrong |= found > last
        if wrong.any():
            raise UnknownError(
                f"{where(found, wrong)}, and no class has it; the numbers of classes are "
                f"{_listed(self.coding.ids)}",
                _first(found, wrong),
            )
        return classes.astype(np.uint8)

    def _of_colours(self, found: np.ndarray) -> np.ndarray:
        codes = _code(*(found[..., channel].astype(np.int64) for channel in range(3)))
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        wrong = self._codes[place] != codes
        if wrong.any():
            raise UnknownError(
                f"{where(found, wrong)}, and no class has it; the colours of classes are "
                f"{_listed(map(shown_colour, self.coding.colours))}",
                _first(found, wrong),
            )
        return self._of_codes[place]


class Held(NamedTuple):
    """What a mask file holds.

    Attributes:
        pixels: numbers (H, W), or colours (H, W, 3), uint8.
        palette: number -> its colour, where the numbers are indices of a palette; else empty.
    """

    pixels: np.ndarray
    palette: Mapping[int, Colour]


def values(path: Path) -> np.ndarray:
    """What a mask file holds, as it is: numbers (H, W), or colours (H, W, 3), uint8.

    Raises:
        PictureError: it cannot be decoded, or its pixels are neither.
    """
    return _held(path).pixels


def _held(path: Path) -> Held:
    try:
        with Image.open(path) as picture:
            picture.load()
            return Held(_numbers(picture), _palette(picture))
    # Pillow's readers raise all kinds of errors on damaged files.
    except Exception as error:
        why = reason(error)
        raise PictureError(f"mask {shown(path)} cannot be read: {why}", why) from error


def _numbers(picture: Image.Image) -> np.ndarray:
    if picture.format in ("JPEG", "MPO"):
        raise ValueError("it is JPEG, which changes the numbers of classes; save it as PNG")
    if picture.mode in ("1", "L", "P"):
        return np.array(picture).astype(np.uint8)
    if is_deep(picture):
        return np.array(picture).astype(np.int64)
    if picture.mode in ("RGB", "RGBA", "RGBX"):
        return np.array(picture)[..., :3]
    raise ValueError(f"its pixels are of Pillow's mode {picture.mode}, and numbers or RGB colours are read")


def _palette(picture: Image.Image) -> dict[int, Colour]:
    values = (picture.getpalette("RGB") or []) if picture.mode == "P" else []
    return dict(enumerate(zip(values[::3], values[1::3], values[2::3], strict=True)))


def _grey(found: np.ndarray) -> np.ndarray:
    if (found[..., :1] == found[..., 1:]).all():
        return found[..., 0]
    wrong = (found[..., :1] != found[..., 1:]).any(axis=-1)
    raise UnknownError(f"{where(found, wrong)}, and no colours of classes are known", _first(found, wrong))


def _code(red: int | np.ndarray, green: int | np.ndarray, blue: int | np.ndarray) -> int | np.ndarray:
    return (red << 16) | (green << 8) | blue


def shown_colour(colour: tuple[int, ...]) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def where(found: np.ndarray, wrong: np.ndarray) -> str:
    """What the first of the wrong pixels holds, where it is, and how many there are.

    Args:
        found: numbers (H, W), or colours (H, W, 3).
        wrong: (H, W), some of them True.
    """
    row, column = np.argwhere(wrong)[0]
    value = found[row, column]
    alike = found == value if found.ndim == 2 else (found == value).all(axis=-1)
    kind = "number" if found.ndim == 2 else "colour"
    others = int((wrong & ~alike).sum())
    more = f", and {others:,} of other {kind}s that are wrong" if others else ""
    return (
        f"it holds the {kind} {_first(found, wrong)} (column {column}, row {row}; "
        f"{count(int(alike.sum()), 'such pixel')}{more})"
    )


def _first(found: np.ndarray, wrong: np.ndarray) -> str:
    """What the first of the wrong pixels holds."""
    value = found[tuple(np.argwhere(wrong)[0])]
    return shown_colour(tuple(value)) if found.ndim == 3 else str(value)


def _listed(known: Iterable[object]) -> str:
    each = [str(value) for value in known]
    return ", ".join(each[:LISTED]) + (f" and {len(each) - LISTED} more" if len(each) > LISTED else "")
