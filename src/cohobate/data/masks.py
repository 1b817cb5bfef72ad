"""Mask files of segmentation: the class of every pixel of a picture.

A mask holds numbers (grey of 8 or 16 bits, one bit, or the indices of a palette) or colours (RGB). What they
mean is said by a :class:`cohobate.data.scenes.Coding`. Grey that a program has saved as RGB is read as grey,
where no colours of classes are known.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from ..config.text import shown
from .pictures import PictureError, is_deep, reason
from .scenes import Coding

EXTENSIONS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Of files without loss: JPEG would change the numbers."""
LISTED = 8
"""Numbers or colours that a message lists."""


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
            PictureError: it cannot be decoded, or holds a number or a colour that no class has.
        """
        try:
            return self._classed(values(path))
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

    def _of_numbers(self, found: np.ndarray) -> np.ndarray:
        last = len(self._classes) - 1
        classes = self._classes.take(found, mode="clip")
        wrong = classes < 0
        if last < np.iinfo(found.dtype).max:
            wrong |= found > last
        if wrong.any():
            raise ValueError(
                f"{_where(found, wrong)}, and no class has it; the numbers of classes are "
                f"{_listed(self.coding.ids)}"
            )
        return classes.astype(np.uint8)

    def _of_colours(self, found: np.ndarray) -> np.ndarray:
        codes = _code(*(found[..., channel].astype(np.int64) for channel in range(3)))
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        wrong = self._codes[place] != codes
        if wrong.any():
            raise ValueError(
                f"{_where(found, wrong)}, and no class has it; the colours of classes are "
                f"{_listed(map(shown_colour, self.coding.colours))}"
            )
        return self._of_codes[place]


def values(path: Path) -> np.ndarray:
    """What a mask file holds, as it is: numbers (H, W), or colours (H, W, 3), uint8.

    Raises:
        PictureError: it cannot be decoded, or its pixels are neither.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return _numbers(picture)
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


def _grey(found: np.ndarray) -> np.ndarray:
    if (found[..., :1] == found[..., 1:]).all():
        return found[..., 0]
    wrong = (found[..., :1] != found[..., 1:]).any(axis=-1)
    raise ValueError(f"{_where(found, wrong)}, and no colours of classes are known")


def _code(red: int | np.ndarray, green: int | np.ndarray, blue: int | np.ndarray) -> int | np.ndarray:
    return (red << 16) | (green << 8) | blue


def shown_colour(colour: tuple[int, ...]) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def _where(found: np.ndarray, wrong: np.ndarray) -> str:
    """What the first of the wrong pixels holds, where it is, and how many there are."""
    row, column = np.argwhere(wrong)[0]
    value = found[row, column]
    held = f"the colour {shown_colour(tuple(value))}" if found.ndim == 3 else f"the number {value}"
    return f"it holds {held} (column {column}, row {row}; {int(wrong.sum()):,} such pixels or others)"


def _listed(known: object) -> str:
    each = [str(value) for value in known]  # type: ignore[attr-defined]
    return ", ".join(each[:LISTED]) + (f" and {len(each) - LISTED} more" if len(each) > LISTED else "")
