"""What exports into a folder found out of the files that they wrote: ``export.json``, for the model card.

A later export into the same folder does not check the files of an earlier one again. A file that was changed
since has another digest, and nothing of it is taken from the record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..runs.exported import ExportFolder
from .export_files import Made

LONGEST = 2**20
"""Bytes of a record that are read, at most."""


class Entry(BaseModel):
    """A file of an export.

    Attributes:
        digest: of its content.
        said: what its check found, or what it is, in a few words.
        command: that exported it, and its language: sh or python.
    """

    model_config = ConfigDict(frozen=True)

    digest: str
    said: str
    command: tuple[str, str]


def recorded(folder: ExportFolder) -> dict[str, Entry]:
    """Name -> what an earlier export found out of the file; of those that are still as it wrote them."""
    try:
        with folder.record.open("rb") as file:
            entries = json.loads(file.read(LONGEST))
        # A name of a folder's file, which cannot lead out of it.
        found = {Path(name).name: Entry.model_validate(entry) for name, entry in entries.items()}
    except (OSError, ValueError, RecursionError, AttributeError, ValidationError):
        return {}  # there is none, or it is no record: nothing is known then, as the card says
    return {name: entry for name, entry in found.items() if _digest_of(folder.path / name) == entry.digest}


def record_of(made: Mapping[str, Made], command: tuple[str, str], before: Mapping[str, Entry]) -> Made:
    """The record of the files that are made now, and of those of before that stay."""
    now = {
        name: Entry(digest=_digest(each.data), said=each.said, command=command) for name, each in made.items()
    }
    entries = {name: entry.model_dump() for name, entry in {**before, **now}.items()}
    return Made((json.dumps(entries, indent=1) + "\n").encode(), "what the checks of the files found")


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data).hexdigest()


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return ""
