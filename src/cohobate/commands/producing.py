"""The files of an export, made and checked in memory: each producer gives some of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..inference.agreement import Agreement
from ..runs.exported import ExportFolder
from .asked import Asked
from .console import doing
from .exporting import Seen, Source
from .forms import Forms
from .integers import integers


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
    """An export that is being made: what producers of files read.

    Attributes:
        asked: what it shall be.
        source: the network, its metadata and its run.
        forms: the network in each form, captured once.
        seen: images, uint8, on which files are checked.
        made: name -> file, of the producers that came before.
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


Producer = Callable[[Export], Mapping[str, Made]]
"""Gives some files of an export by their names; raises where one of them is not right."""


def networks(export: Export) -> dict[str, Made]:
    """The network in each form that was asked for."""
    made = {}
    for form in export.asked.forms:
        with doing(f"writing the network as {form}"):
            data = export.forms.written(form)
        with doing(f"comparing the {form} file with the network"):
            agreed = export.forms.checked(form, data, export.seen.images)
        said = "weights equal bit by bit" if agreed is None else str(agreed)
        made[export.folder.network(form).name] = Made(data, said, agreed)
    return made


def int8(export: Export) -> dict[str, Made]:
    """The ONNX file in 8-bit integers, if it was asked for."""
    asked = export.asked
    if not asked.int8:
        return {}
    there = export.made.get(export.folder.network("onnx").name)
    floats = export.forms.written("onnx") if there is None else there.data
    if there is None:
        export.forms.checked("onnx", floats, export.seen.images)
    made = integers(export.source, floats, export.seen.dataset, asked.calibration_images, export.say)
    return {export.folder.int8.name: Made(made.data, str(made))}


PRODUCERS: tuple[Producer, ...] = (networks, int8)
"""In the order in which they are asked; each sees what was made before it."""
