"""The files of an export, made and checked in memory: each step gives some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..inference.agreement import Agreement
from ..runs.exported import ExportFolder
from .console import doing
from .export_forms import Forms
from .export_options import Asked
from .export_source import Seen, Source


class Made(NamedTuple):
    """A file that is to be written.

    Attributes:
        data: its content.
        said: what its check found, or what it is, in a few words.
        agreement: of its predictions with those of the network, where it predicts.
    """

    data: bytes
    said: str
    agreement: Agreement | None = None


class Export(NamedTuple):
    """An export that is being made: what steps of files read.

    Attributes:
        asked: what it shall be.
        source: the network, its metadata and its run.
        forms: the network in each form, captured once.
        seen: images, uint8, on which files are checked.
        made: name -> file, of the steps that came before.
        say: prints a note.
    """

    asked: Asked
    source: Source
    forms: Forms
    seen: Seen
    made: dict[str, Made]
    say: Callable[[str], None]

    @property
    def folder(self) -> ExportFolder:
        """Where the files will lie."""
        return ExportFolder(self.asked.folder)


Step = Callable[[Export], Mapping[str, Made]]
"""Gives some files of an export by their names; raises where one of them is not right."""


def networks(export: Export) -> dict[str, Made]:
    """The network in each form that was asked for."""
    made: dict[str, Made] = {}
    if export.asked.command.adaptive:
        return made
    for form in dict.fromkeys(export.asked.command.format):
        with doing(f"writing the network as {form}"):
            data = export.forms.written(form)
        with doing(f"comparing the {form} file with the network"):
            agreed = export.forms.checked(form, data, export.seen.images)
        said = "weights equal bit by bit" if agreed is None else f"{agreed}; on {export.seen.where}"
        made[export.folder.network(form).name] = Made(data, said, agreed)
    return made
