"""Official lists of splits: lines of text files, what they must agree in, and archives to unpack first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...config.text import as_text, shown
from .listed import Pairs, missing


def lines(file: Path, columns: int) -> list[list[str]]:
    """The words of each line that is not empty; the last column may hold blanks.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line with another number of columns.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{shown(file)} is not there: it comes with the data set's download")
    found = []
    # Names of files are bytes, not all of them UTF-8.
    for number, line in enumerate(file.read_text("utf-8", "surrogateescape").splitlines(), start=1):
        words = line.split(maxsplit=columns - 1)
        if words and len(words) != columns:
            raise ValueError(
                f"{shown(file)}, line {number}: {columns} columns are expected, got {as_text(line)!r}"
            )
        if words:
            found.append([*words[:-1], words[-1].rstrip()])
    return found


def number(text: str, low: int, high: int, what: str, file: Path) -> int:
    """A whole number of a list.

    Raises:
        ValueError: it is none, or out of range.
    """
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{shown(file)}: {what} must be {low} to {high}, got {as_text(text)!r}")
    return int(text)


def refuse_twice(name: str, splits: Mapping[str, Pairs]) -> None:
    """Check that no picture stands twice in the lists of all splits.

    Raises:
        ValueError: one does, with one label or two.
    """
    places: dict[Path, str] = {}
    for part, pairs in splits.items():
        for path, _ in pairs:
            if path in places:
                raise ValueError(
                    f"the lists of {name} have {shown(path)} twice, in {places[path]} and in {part}; each "
                    "picture belongs to one split and one class"
                )
            places[path] = part


def absent(name: str, root: Path, archives: Sequence[str]) -> FileNotFoundError:
    """That a data set is not there; if its archive is: the command that unpacks it."""
    archive = next((root / each for each in archives if (root / each).is_file()), None)
    if archive is None:
        return missing(name, root)
    words = ["unzip", str(archive), "-d"] if archive.suffix == ".zip" else ["tar", "-xf", str(archive), "-C"]
    return FileNotFoundError(
        f"{name} is read from its folder, and {shown(archive)} is not unpacked: "
        f"{shown(shlex.join([*words, str(root)]))}"
    )
