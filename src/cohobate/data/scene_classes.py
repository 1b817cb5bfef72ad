"""The classes of a folder of masks: as its ``classes.csv`` says, or the numbers that its masks hold.

``classes.csv`` has a line for each class, under the line ``id,name`` or ``id,name,colour``: the number of its
pixels in masks of numbers, its name, and its colour (#rrggbb) in masks of colours. Lines with the same name
are of one class. Pixels of a line named ``ignored`` are not counted, nor are those of the number 255, unless
a class has it.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ..config.colours import colour
from ..config.text import shown
from .headers import CHUNK, Progress
from .masks import LISTED, shown_colour, values, where
from .pictures import PictureError
from .scene_faults import Fault, by_cause
from .scenes import VOID, Coding, Colour

FILE = "classes.csv"
IGNORED = "ignored"
"""Name of a line whose pixels are not counted."""
Key = TypeVar("Key", int, Colour)
MOST = 255
"""Classes that a mask can tell apart, as 255 is void."""


class Classes(NamedTuple):
    """The classes of a folder.

    Attributes:
        names: K.
        coding: what the pixels of masks mean.
        notes: remarks.
        unread: mask -> why it cannot be read, where all masks were decoded to find the classes, so that the
            others hold nothing else; None: they were not.
        file: that says them, if there is one.
    """

    names: tuple[str, ...]
    coding: Coding
    notes: tuple[str, ...] = ()
    unread: Mapping[Path, str] | None = None
    file: Path | None = None


def classes_of(folder: Path, masks: Sequence[Path], progress: Progress | None) -> Classes:
    """The classes of a folder.

    Args:
        folder: of the data set.
        masks: all of its mask files, which are opened where it has no :data:`FILE`.
        progress: is told how many masks of how many are opened.

    Raises:
        ValueError: a file of classes that is not as described, or masks that need one.
    """
    file = folder / FILE
    if file.exists():
        return Classes(*_of_file(file), file=file)
    return _found(_held(masks, progress))


# ---------------------------------------------------------------- a file


def _of_file(file: Path) -> tuple[tuple[str, ...], Coding]:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(file)} cannot be read as text in UTF-8: {error}") from error
    rows = list(csv.reader(text.splitlines()))
    head = [name.strip().lower().replace("color", "colour") for name in rows[0]] if rows else []
    if head not in (["id", "name"], ["id", "name", "colour"]):
        got = shown(",".join(head))
        raise ValueError(f"the first line of {shown(file)} must be id,name or id,name,colour, got {got!r}")
    names: list[str] = []
    ids: dict[int, int] = {}
    colours: dict[Colour, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(part.strip() for part in row):
            continue
        where = f"line {number} of {shown(file)}"
        own, name, *painted = _parts(row, len(head), where)
        if name != IGNORED and name not in names:
            names.append(name)
        label = VOID if name == IGNORED else names.index(name)
        _add(ids, _number(own, where), label, where)
        if any(painted):
            _add(colours, _colour(painted[0], where), label, where)
    if not 1 <= len(names) <= MOST:
        raise ValueError(f"{shown(file)} names {len(names)} classes; masks have 1 to {MOST}")
    ids.setdefault(VOID, VOID)
    return tuple(names), Coding(ids, colours)


def _parts(row: list[str], count: int, where: str) -> list[str]:
    parts = [part.strip() for part in row]
    if len(parts) != count or not parts[1]:
        raise ValueError(f"{where} must have {count} entries and a name, got {shown(','.join(row))!r}")
    return parts


def _add(known: dict[Key, int], key: Key, label: int, where: str) -> None:
    if known.setdefault(key, label) != label:
        what = shown_colour(key) if isinstance(key, tuple) else str(key)
        raise ValueError(f"{where} gives {what} to a second class")


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(f"{where}: an id is a whole number, 0 to 65535, got {shown(text)!r}")
    return int(text)


def _colour(text: str, where: str) -> Colour:
    try:
        return colour(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


# ---------------------------------------------------------------- without a file


@dataclass
class Held:
    """What masks hold.

    Attributes:
        numbers: in masks of numbers: number -> the first of the files that hold it.
        colours: in masks of colours: colour -> the first of the files that hold it.
        bad: files that cannot be read, and why.
    """

    numbers: dict[int, Path] = field(default_factory=dict)
    colours: dict[Colour, Path] = field(default_factory=dict)
    bad: list[tuple[Path, str]] = field(default_factory=list)


def _held(masks: Sequence[Path], progress: Progress | None) -> Held:
    def look(chunk: Iterable[Path]) -> Held:
        held = Held()
        for path in chunk:
            try:
                _add_values(values(path), path, held)
            except PictureError as error:
                held.bad.append((path, error.reason))
        return held

    held = Held()
    chunks = [masks[first : first + CHUNK] for first in range(0, len(masks), CHUNK)]
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        for done, found in enumerate(pool.map(look, chunks), start=1):
            held.numbers = found.numbers | held.numbers
            held.colours = found.colours | held.colours
            held.bad += found.bad
            if progress is not None:
                progress(min(done * CHUNK, len(masks)), len(masks))
    return held


def _add_values(found: np.ndarray, path: Path, held: Held) -> None:
    if found.ndim == 2:
        for number in np.flatnonzero(np.bincount(found.reshape(-1))).tolist():
            held.numbers.setdefault(number, path)
        return
    codes = found[..., 0].astype(np.int64) << 16 | found[..., 1].astype(np.int64) << 8 | found[..., 2]
    each = [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(codes).tolist()]
    grey = all(red == green == blue for red, green, blue in each)
    if grey:
        for red, _, _ in each:
            held.numbers.setdefault(red, path)
    else:
        held.colours.update(dict.fromkeys(each, path))


def _found(held: Held) -> Classes:
    if held.colours:
        named = ", ".join(map(shown_colour, list(held.colours)[:LISTED]))
        named += " ..." if len(held.colours) > LISTED else ""
        file = shown(next(iter(held.colours.values())))
        raise ValueError(
            f"masks hold colours ({named}; {file}), and no {FILE} says which class each is; "
            "write one beside the folders, with the lines id,name,colour and for example 0,road,#804080"
        )
    numbers = sorted(held.numbers.keys() - {VOID})
    if not numbers:
        bad = by_cause([Fault(path, why, why) for path, why in held.bad])
        why = f": {bad}" if bad else f"; they hold nothing but {VOID}, which is ignored"
        raise ValueError(f"no class is found in the masks{why}")
    if len(numbers) == 1:
        raise ValueError(_one_number(numbers[0], void=VOID in held.numbers))
    missing = next(number for number in range(len(numbers) + 1) if number not in numbers)
    if missing < numbers[-1]:
        after = next(number for number in numbers if number > missing)
        raise ValueError(_gap(missing, after, held.numbers[after]))
    held_by = f"the numbers 0 to {missing - 1} that the masks hold"
    note = f"no {FILE}: the classes are {held_by}, and {VOID} is ignored"
    return Classes(
        tuple(map(str, numbers)),
        Coding({number: number for number in numbers} | {VOID: VOID}),
        (note,),
        dict(held.bad),
    )


def _one_number(number: int, *, void: bool) -> str:
    """That masks hold one class, and what says that there are two."""
    also = f" and {VOID}, and without a {FILE} {VOID} is no class: its pixels are ignored" if void else ""
    other = VOID if void else number + 1
    return (
        f"the masks hold {'only' if void else 'nothing but'} the number{'s' if void else ''} {number}{also}; "
        f"there must be two classes or more: write a {FILE} beside the folders that names them, with the "
        f"lines id,name and for example {number},background and {other},object"
    )


def _gap(missing: int, after: int, path: Path) -> str:
    """That the numbers of masks leave some out, by the first pixel of the first number after these."""
    pixels = values(path)
    pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
    if after > VOID:
        lacking = f"without a {FILE} the classes are numbers from 0 to {VOID - 1}"
    else:
        lacking = (
            f"no mask holds {missing if after == missing + 1 else f'{missing} to {after - 1}'}; without a "
            f"{FILE} the classes are the numbers from 0 on, and none may be missing"
        )
    return (
        f"{shown(path)}: {where(pixels, pixels == after)}, and {lacking}; mend the mask if the number is a "
        f"mistake, else write a {FILE} beside the folders, with the line id,name and one for each class, "
        f"for example {after},NAME"
    )
