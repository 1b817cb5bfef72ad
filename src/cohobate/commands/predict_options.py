"""What a prediction shall be: its options, and where it is written. No torch here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro
from pydantic import Field

from ..config.groups import Group
from ..config.groups.group import ANY_NAME
from ..config.text import shown
from ..engine.errors import RunError
from ..runs.layout import RunFolder
from .parsing import WHOLE
from .subject import Weights

Format = Literal["table", "csv", "jsonl"]
ENDINGS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl"}

IMAGES = tyro.conf.arg(metavar="[IMAGES ...]")


class Command(Group):
    """The network, the images and the output."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = Field(
        description="Folder of a run; or a file: deployed.safetensors, model.safetensors, model.onnx."
    )
    images: Annotated[tuple[str, ...], tyro.conf.Positional, WHOLE, ANY_NAME, IMAGES] = Field(
        (), description="Files of images, and folders of them."
    )
    format: Format | None = Field(
        None,
        description="csv; jsonl, a JSON object a line; table, for people. By default as --out ends (.csv, "
        ".jsonl), else a table on a terminal and csv anywhere else.",
    )
    out: Path | None = Field(
        None, description="File to write, by default stdout; or, where every pixel gets a class, a folder."
    )
    top_k: int | None = Field(
        None, ge=1, description="The likeliest classes of each image, so many; by default 1."
    )
    overlay: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Where every pixel gets a class: how much the colours of the classes cover the picture "
        "in overlays/, by default 0.5; 0 writes no overlays.",
    )
    strict: bool = Field(
        False, description="Stop at the first image that cannot be read; by default it is left out."
    )
    weights: Weights = Field(
        "last", description="Of a run: weights of the last epoch, or of the best one on the validation split."
    )
    adaptive: bool = Field(
        False,
        description="Let images leave a deployed sum of networks (reskd, ensemble, trained_together) early, "
        "by its stored threshold; `cohobate evaluate RUN --adaptive` chooses one.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Images that are computed at a time; by default 500 as `cohobate evaluate` has, fewer of "
        "more than 299 x 299 pixels.",
    )
    workers: int = Field(2, ge=0, description="Processes that decode the files; 0: the main process.")
    device: str | None = Field(
        None,
        description="Device: cpu, cuda, cuda:1 ...; by default that of the run, and of a file a GPU if there "
        "is one.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads that compute on the CPU; by default as many as torch has.",
    )


class Counts(NamedTuple):
    """How many images were predicted, and how many could not be read."""

    predicted: int
    skipped: int


class Destination(NamedTuple):
    """Where predictions go: the format, and the file or None for stdout."""

    format: Format
    out: Path | None


def destination(command: Command) -> Destination:
    """Where the predictions go.

    Raises:
        ValueError: a name that tells no format, or that of a folder.
        RunError: a file that cannot be written there.
    """
    out = command.out
    if out is None:
        return Destination(command.format or ("table" if sys.stdout.isatty() else "csv"), None)
    if out.is_dir():
        raise ValueError(f"--out {shown(out)} is a folder; name a file")
    kind = command.format or ENDINGS.get(out.suffix.lower())
    if kind is None:
        raise ValueError(
            f"--out {shown(out)} does not tell the format: give a name that ends in "
            f"{' or '.join(ENDINGS)}, or --format"
        )
    require_writable(out)
    return Destination(kind, out)


def require_writable(out: Path) -> None:
    """Raise a RunError unless something can be written at this place, as far as the folder above it says."""
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RunError(f"cannot write {shown(out)}: {shown(above)} is no folder that can be written")


def keep_inputs(out: Path, network: Path, images: Iterable[Path]) -> None:
    """Raise a ValueError if the output would replace what is read: an image, the network, a file of a run."""
    if not out.exists():
        return
    if any(out.samefile(path) for path in (network, *own_files(network)) if path.exists()):
        raise ValueError(f"--out {shown(out)} would replace a file of the network; give another name")
    if any(out.samefile(path) for path in images if path.exists()):
        raise ValueError(f"--out {shown(out)} would replace one of the images; give another name")


def own_files(network: Path) -> list[Path]:
    """Files that a run has written, but not predictions that somebody has put beside them."""
    folder = RunFolder(network)
    if not folder.config.is_file():
        return []
    named = [folder.config, folder.provenance, folder.metrics, folder.result, folder.failure, folder.adaptive]
    named += [folder.deployed, folder.deployed_best, folder.report]
    return [path for path in [*named, *folder.export.rglob("*")] if path.is_file()]
