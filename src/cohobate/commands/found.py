"""Where the data sets that have a name are, in words; no file is opened."""

from __future__ import annotations

from pathlib import Path

from ..config.words import count
from ..data.sets import source
from .doctor_hardware import amount


def found(name: str, root: Path) -> str | None:
    """Where a data set is in a folder, and what it lacks there; None if it is not there.

    Args:
        name: of the data set.
        root: where data sets lie; absolute.
    """
    # The file of a data set needs torch, and an OSError of its import says nothing about the folder.
    look = source(name).whereabouts
    try:
        data = look(root)
    except OSError as error:
        return f"cannot be looked for in {root}: {error.strerror}"
    if data.place is None:
        return None
    place = data.place.absolute()
    where = str(place.relative_to(root) if place.is_relative_to(root) else place)
    size = f": {count(len(data.files), 'file')}, {amount(sum(data.files.values()))}" if data.files else ""
    lacking = f"; without {', '.join(data.lacking)}" if data.lacking else ""
    return f"{where}{size}{lacking}"


def found_or_looked_for(name: str, root: Path) -> str:
    """The same, or what was looked for."""
    there = found(name, root)
    return f"not found; looked for {source(name).whereabouts(root).looked_for}" if there is None else there
