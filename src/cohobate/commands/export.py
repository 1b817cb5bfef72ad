"""``cohobate export``: the network of a finished run as files that need no training code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..config.checking import checked
from ..config.forms import Form, Values
from .console import doing
from .export_options import Asked, Command
from .parsing import parsed_alone
from .subject import Weights

if TYPE_CHECKING:
    from torch import nn

    from ..data.dataset import Dataset
    from ..inference.agreement import Agreement


class Written(NamedTuple):
    """A file of an export.

    Attributes:
        path: where it lies.
        size: in bytes.
        said: what its check found, or what it is, in a few words.
        agreement: of its predictions with those of the network, where it predicts.
        replaced: whether there was a file of this name before.
    """

    path: Path
    size: int
    said: str
    agreement: Agreement | None
    replaced: bool


def export(
    run: str | os.PathLike[str],
    forms: Form | Sequence[Form] = ("onnx",),
    out: Path | str | None = None,
    *,
    weights: Weights = "last",
    readout: str | None = None,
    values: Values = "0-255",
    opset: int | None = None,
    network: nn.Module | None = None,
    data: str | Path | Dataset | None = None,
    data_root: Path | str | None = None,
    adaptive: bool = False,
    threshold: float | None = None,
    int8: bool = False,
    calibration_images: int | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> list[Written]:
    """Write the network of a finished run in each form; each file is compared with the network first.

    Args:
        run: the run's folder, or the result of :func:`cohobate.fit` or :func:`cohobate.train`.
        forms: of files, one or several.
        out: folder of the files; by default ``export`` in the run's folder.
        weights: of the last epoch, or of the best one on the validation split.
        readout: a predictor of the method that is not deployed: ``ensemble``, ``peer_1`` ...
        values: that the images have which the file takes.
        opset: of an ONNX file.
        network: of a run from Python (:func:`cohobate.fit`), as it was built for it: a copy gets the run's
            weights and is exported. It may also stand for a network of a run that is built by name.
        data: images to check the files on, as ``--data``, or in memory; by default those of the run.
        data_root: where they are now, if they have moved.
        adaptive: whether the deployed sum is written as a cascade: its networks as ONNX files, and a runner
            that needs NumPy and onnxruntime only.
        threshold: of the cascade, an energy in [0, 1] or math.inf; by default the stored one.
        int8: write ``model.int8.onnx`` too, an ONNX file in 8-bit integers, measured beside the one in
            floats.
        calibration_images: which set the ranges of its activations, of the validation split, or of the
            training images where there is none; by default 500.
        say: prints a note.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: not a run folder, no such predictor, or a network that cannot be exported.
        ImportError: a library is missing; the message names the extra.
        RunError: the run has not finished or was made from Python, a file predicts something else, or it
            cannot be written. Files that were there before are untouched then.
    """
    named, dataset = (str(data), None) if isinstance(data, str | Path) else (None, data)
    command = checked(
        "cohobate.export",
        Command,
        {
            "run": Path(run),
            "format": forms if isinstance(forms, str) else tuple(forms),
            "out": out,
            "weights": weights,
            "readout": readout,
            "values": values,
            "opset": opset,
            "data": named,
            "data_root": data_root,
            "adaptive": adaptive,
            "threshold": threshold,
            "int8": int8,
            "calibration_images": calibration_images,
        },
    )
    return run_export(Asked(command, network, dataset), say)


def run_export(asked: Asked, say: Callable[[str], None] = lambda message: None) -> list[Written]:
    """An export as it is asked for: everything is checked, made and checked again before it is written."""
    asked.check()
    from ..engine.checkpoint import write_all
    from .export_files import Export
    from .export_forms import Forms
    from .export_order import STEPS
    from .export_source import seen_by, source_of

    with doing("reading the run"):
        source = source_of(asked)
    notes: list[str] = []
    with doing("looking for the images of the run"):
        seen = seen_by(source, asked.on, notes.append)
    for note in notes:
        say(note)
    export = Export(asked, source, Forms(source, asked.command.opset), seen, {}, say)
    for step in STEPS:
        export.made.update(step(export))
    files = {asked.folder / name: made for name, made in export.made.items()}
    there = {path for path in files if path.exists()}
    write_all({path: made.data for path, made in files.items()})
    return [
        Written(path, len(made.data), made.said, made.agreement, path in there)
        for path, made in files.items()
    ]


# ---------------------------------------------------------------- command line

ABOUT = """\
Write the deployed network of a finished run as files that need no training code.

Each file is read back and compared with the network on images of the run before it is written; the largest
difference is said. Classes, image size, normalisation, data, errors and versions are in its metadata.
"""


def main(arguments: list[str]) -> None:
    """Write the network of the finished run RUN as files that need no training code."""
    command = parsed_alone("cohobate export", arguments, Command, ABOUT)
    for each in run_export(Asked(command), say=partial(print, file=sys.stderr)):
        replaced = ", replaced" if each.replaced else ""
        print(f"{each.path}  {each.size / 2**20:.2f} MiB  {each.said}{replaced}")
