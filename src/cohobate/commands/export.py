"""``cohobate export``: the network of a finished run as files that need no training code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import tyro
from pydantic import Field

from ..config.forms import Form, Values
from ..config.groups import Group
from .console import doing
from .export_options import Asked
from .parsing import parsed_alone
from .subject import On, Weights

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
    run: Path | str,
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
        run: the run's folder.
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
    named, given = (str(data), None) if isinstance(data, str | Path) else (None, data)
    on = On(named, None if data_root is None else Path(data_root), dataset=given)
    where = None if out is None else Path(out)
    each: Sequence[Form] = (forms,) if isinstance(forms, str) else tuple(forms)
    asked = Asked(Path(run), each, where, weights, readout, values, opset, on, network)
    more = {"adaptive": adaptive, "threshold": threshold}
    more |= {"int8": int8, "calibration_images": calibration_images}
    return run_export(asked._replace(**more), say)  # type: ignore[arg-type]


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
    export = Export(asked, source, Forms(source, asked.opset), seen, {}, say)
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


class Command(Group):
    """The run, the forms and the weights."""

    run: Annotated[Path, tyro.conf.Positional] = Field(description="Folder of the run.")
    format: tuple[Form, ...] = Field(
        ("onnx",),
        description="Kinds of files, one or several: onnx, for onnxruntime and others; pt2, for "
        "torch.export.load; safetensors, the weights alone.",
    )
    out: Path | None = Field(None, description="Folder of the files; by default RUN/export.")
    weights: Weights = Field(
        "last", description="Weights of the last epoch, or of the epoch with the best validation error."
    )
    readout: str | None = Field(
        None,
        description="Another predictor of the method than the one that is deployed: ensemble, peer_1 ...; "
        "`cohobate evaluate` and the page of the run name them.",
    )
    values: Values = Field(
        "0-255",
        description="Images that the files take: 0-255, bytes (uint8); 0-1, those over 255 (float32); "
        "normalised, by mean and standard deviation, which then is done outside (float32).",
    )
    opset: int | None = Field(None, description="Version of the operators of an ONNX file; by default 18.")
    data: str | None = Field(
        None,
        description="Images to check the files on, as --data of `cohobate train`; by default those of the "
        "run.",
    )
    data_root: Path | None = Field(
        None, description="Folder with the files of the named data sets; by default that of the run."
    )
    adaptive: bool = Field(
        False,
        description="Write the deployed sum of networks (reskd, ensemble, trained_together) as a cascade, "
        "which images leave early: a file for each network, and a runner that needs NumPy and onnxruntime "
        "only.",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Threshold of the cascade: an image leaves once its energy is above it; by default the "
        "stored one.",
    )
    int8: bool = Field(
        False,
        description="Write model.int8.onnx too: 8-bit integers, calibrated on validation images; its error "
        "is measured beside that of the ONNX file in floats. Training images calibrate it where the run has "
        "no validation split.",
    )
    calibration_images: int | None = Field(
        None,
        ge=1,
        description="Images that calibrate --int8, evenly spaced in the validation split, or, "
        "where there is none, among the training images; by default 500.",
    )

    @property
    def asked(self) -> Asked:
        """What the export shall be."""
        return Asked(
            self.run,
            self.format,
            self.out,
            self.weights,
            self.readout,
            self.values,
            self.opset,
            On(self.data, self.data_root),
            adaptive=self.adaptive,
            threshold=self.threshold,
            int8=self.int8,
            calibration_images=self.calibration_images,
        )


def main(arguments: list[str]) -> None:
    """Write the network of the finished run RUN as files that need no training code."""
    command = parsed_alone("cohobate export", arguments, Command, ABOUT)
    for each in run_export(command.asked, say=partial(print, file=sys.stderr)):
        replaced = ", replaced" if each.replaced else ""
        print(f"{each.path}  {each.size / 2**20:.2f} MiB  {each.said}{replaced}")
