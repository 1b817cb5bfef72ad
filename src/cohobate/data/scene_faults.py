"""Masks that cannot be used, by cause: one file of each is told in full, and what mends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.text import shown
from .masks import UnknownError
from .pictures import PictureError

CAUSES = 3
"""Causes that a message tells in full, by one file each."""
VALUES = 3
"""Numbers or colours without a class for which a message proposes a line."""


@dataclass(frozen=True)
class Fault:
    """Why a mask cannot be used.

    Attributes:
        path: of the mask.
        why: in full.
        cause: what other files may have likewise, without places and names of files.
        value: the number or colour that no class has, where that is the cause; else empty.
    """

    path: Path
    why: str
    cause: str
    value: str = ""


def fault_of(path: Path, error: PictureError) -> Fault:
    """That of a mask that :class:`cohobate.data.masks.Masks` has not read."""
    unknown = error.__cause__
    if isinstance(unknown, UnknownError):
        return Fault(path, error.reason, f"no class has {unknown.value}", unknown.value)
    return Fault(path, error.reason, error.reason)


def by_cause(faults: Sequence[Fault]) -> str:
    """One file of each of the first few causes, and how many others there are, as a text of one line."""
    groups: dict[str, list[Fault]] = {}
    for fault in faults:
        groups.setdefault(fault.cause, []).append(fault)
    told = list(groups.values())[:CAUSES]
    parts = [f"{shown(each[0].path)}: {each[0].why}{_likewise(len(each) - 1)}" for each in told]
    left = len(faults) - sum(map(len, told))
    return "; ".join([*parts, *([f"and {left:,} more for other causes"] if left else [])])


def _likewise(others: int) -> str:
    return f" (and {others:,} {'other' if others == 1 else 'others'} likewise)" if others else ""


def remedy(faults: Sequence[Fault], file: Path | None, *, some_left: bool) -> str:
    """What mends them.

    Args:
        faults: of a split; at least one.
        file: that says the classes, if the user wrote it.
        some_left: whether the split has masks that can be used.
    """
    steps = []
    values = list(dict.fromkeys(fault.value for fault in faults if fault.value))
    if values and file is not None:
        lines = " and ".join(map(_line, values[:VALUES])) + (" ..." if len(values) > VALUES else "")
        column = ", under the line id,name,colour" if values[0].startswith("#") else ""
        what = "it is a class" if len(values) == 1 else "they are classes"
        steps.append(f"if {what}, add {lines} to {shown(file)}{column}")
    one = len(faults) == 1
    mend = "mend the mask" if one else "mend the masks"
    if some_left:
        mend += f", or remove {'it with its picture' if one else 'them with their pictures'}"
        mend += ", or leave such pairs out by --skip-unreadable"
    return "; else ".join([*steps, mend])


def _line(value: str) -> str:
    return f"the line ID,NAME,{value}" if value.startswith("#") else f"the line {value},NAME"
