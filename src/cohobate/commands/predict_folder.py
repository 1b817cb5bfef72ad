"""The folder into which masks are written: the names of its files, none of which is there yet. No torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..config.text import shown
from ..config.words import count
from .predict_options import ENDINGS, require_writable

if TYPE_CHECKING:
    from .predict_options import Command, Format

OPACITY = 0.5
"""How much the colours of the classes cover a picture, where nothing else is asked for."""
SHARES: dict[str, str] = {"csv": "shares.csv", "jsonl": "shares.jsonl", "table": "shares.txt"}
"""Format -> the file with the share of each class in each picture."""


class Place(NamedTuple):
    """Where what is said of a picture is written, below the folder.

    Attributes:
        mask: a PNG of numbers.
        overlay: the picture under the colours of the classes; None: none is written.
    """

    mask: Path
    overlay: Path | None


class MaskFolder(NamedTuple):
    """A folder of masks.

    Attributes:
        path: of the folder.
        format: of the file with the shares.
        opacity: how much the colours cover a picture, 0 to 1; 0: no overlays.
    """

    path: Path
    format: Format
    opacity: float

    @property
    def shares(self) -> Path:
        """The share of each class in each picture."""
        return self.path / SHARES[self.format]

    @property
    def classes(self) -> Path:
        """Number, name and colour of each class."""
        return self.path / "classes.csv"

    def places(self, pictures: Sequence[Path]) -> list[Place]:
        """Where the masks and overlays of pictures are written.

        Raises:
            ValueError: one of these files, or of the others, is there already, or two would have one name.
        """
        found = [
            Place(Path("masks") / name, Path("overlays") / name if self.opacity else None)
            for name in names(pictures)
        ]
        wanted = [self.shares, self.classes]
        wanted += [self.path / part for place in found for part in place if part is not None]
        if there := [file for file in wanted if os.path.lexists(file)]:
            more = f", and {count(len(there) - 1, 'other file')} too" if len(there) > 1 else ""
            raise ValueError(
                f"{shown(there[0])} is there already{more}, and nothing is replaced: name another folder "
                "with --out, or remove it"
            )
        return found


def folder_of(command: Command) -> MaskFolder:
    """The folder that is asked for.

    Raises:
        ValueError: none is named, it is a file, or an option is for networks of another kind.
        RunError: it cannot be written.
    """
    run, out = shown(command.run), command.out
    said = f"{run} gives every pixel a class"
    if command.top_k is not None:
        raise ValueError(f"--top-k is for networks that give each image a class, and {said}; leave it out")
    if command.adaptive:
        raise ValueError(f"--adaptive is for networks that give each image a class, and {said}; leave it out")
    if out is None:
        raise ValueError(f"{said}, and writes masks: name their folder with --out")
    if out.suffix.lower() in ENDINGS and not out.is_dir():
        raise ValueError(f"{said}, and writes a folder; --out {shown(out)} ends as a file does")
    if os.path.lexists(out) and not out.is_dir():
        raise ValueError(f"--out {shown(out)} is a file; {said}, and writes a folder")
    require_writable(out / "masks")
    opacity = OPACITY if command.overlay is None else command.overlay
    return MaskFolder(out, command.format or "csv", opacity)


def names(pictures: Sequence[Path]) -> list[Path]:
    """A name for each of different files, which ends in .png: its path below the folder that holds all.

    Those that differ in their ending only keep it: ``a.jpg.png`` and ``a.tif.png``.

    Raises:
        ValueError: two would still have one name.
    """
    if not pictures:
        return []
    paths = [os.path.abspath(path) for path in pictures]
    top = os.path.commonpath([os.path.dirname(path) for path in paths])
    below = [Path(os.path.relpath(path, top)) for path in paths]
    stems = Counter(path.with_suffix("") for path in below)
    found = [
        path.with_name(f"{path.name if stems[path.with_suffix('')] > 1 else path.stem}.png") for path in below
    ]
    if twice := [name for name, number in Counter(found).items() if number > 1]:
        both = [shown(path) for path, name in zip(pictures, found, strict=True) if name == twice[0]]
        raise ValueError(f"the masks of {both[0]} and {both[1]} would have one name; predict them apart")
    return found
