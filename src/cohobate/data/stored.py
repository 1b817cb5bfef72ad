"""Where a picture lies: in a file of its own, or as bytes in a table with others."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from PIL import Image


class Shelf(Protocol):
    """Encoded pictures in rows, such as a column of a table; ``str`` gives its name for messages."""

    def picture(self, row: int) -> bytes:
        """The content of what would be a file."""


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """A picture in a table: it is read as a file with these bytes would be.

    Attributes:
        shelf: that holds it.
        row: its place there.
        size: in bytes.
    """

    shelf: Shelf
    row: int
    size: int

    def __str__(self) -> str:
        return f"row {self.row} of {self.shelf}"


Picture = Path | Stored
"""A file, or a row of a table."""


def stream(picture: Picture) -> BinaryIO:
    """Its bytes, to read from."""
    return picture.open("rb") if isinstance(picture, Path) else io.BytesIO(picture.shelf.picture(picture.row))


def opened(picture: Picture) -> Image.Image:
    """As Pillow opens it."""
    return Image.open(picture if isinstance(picture, Path) else stream(picture))


def length(picture: Picture) -> int:
    """In bytes."""
    return picture.stat().st_size if isinstance(picture, Path) else picture.size


def described(pictures: Sequence[Picture]) -> str:
    """A line for each picture, by its name and length: files relative to a folder, rows by their numbers."""
    files = [picture.parent for picture in pictures if isinstance(picture, Path)]
    root = os.path.commonpath(files) if files else ""
    names = (
        os.path.relpath(picture, root) if isinstance(picture, Path) else picture.row for picture in pictures
    )
    return "".join(f"{name}\0{length(picture)}\n" for name, picture in zip(names, pictures, strict=True))
