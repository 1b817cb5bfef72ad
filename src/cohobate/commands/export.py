"""``cohobate export``: the network of a finished run as files that need no training code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import tyro
from pydantic import Field

from ..config.forms import Form, Values
from ..config.groups import Group
from .parsing import parsed_alone
from .subject import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from ..inference.agreement import Agreement
    from .exporting import Source


class Written(NamedTuple):
    """A file of an export.

    Attributes:
        path: where it lies.
        size: in bytes.
        agreement: of its predictions with those of the network; None for weights, compared bit by bit.
    """

    path: Path
    size: int
    agreement: Agreement | None


def export_run(
    path: Path,
    forms: Sequence[Form] = ("onnx",),
    out: Path | None = None,
    *,
    weights: Weights = "last",
    readout: str | None = None,
    values: Values = "0-255",
    opset: int | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> list[Written]:
    """Write the network of a finished run in each form; each file is compared with the network first.

    Args:
        path: the run's folder.
        forms: of files.
        out: folder of the files; by default ``export`` in the run's folder.
        weights: of the last epoch, or of the best one on the validation split.
        readout: a predictor of the method that is not deployed: ``ensemble``, ``peer_1`` ...
        values: that the images have which the file takes.
        opset: of an ONNX file.
        say: prints a note.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: not a run folder, no such predictor, or a network that cannot be exported.
        ImportError: a library is missing; the message names the extra.
        RunError: the run has not finished or was made from Python, a file predicts something else, or it
            cannot be written. Files that were there before are untouched then.
    """
    from ..engine.checkpoint import write_bytes
    from ..inference.exporting import OPSET
    from ..runs.exported import ExportFolder
    from .exporting import export_folder, source_of
    from .forms import Forms

    source = source_of(path, weights, readout, values)
    images = _images(source, say)
    every = Forms(source, opset or OPSET)
    made = {form: every.written(form) for form in forms}
    agreed = {form: every.checked(form, data, images) for form, data in made.items()}
    folder = ExportFolder(export_folder(path, out))
    written = []
    for form, data in made.items():
        file = folder.network(form)
        write_bytes(file, data)
        written.append(Written(file, len(data), agreed[form]))
    return written


def _images(source: Source, say: Callable[[str], None]) -> Tensor:
    """Real images, uint8; noise, and a note, where there are none."""
    from ..inference.deployable import Deployable, Normalisation
    from .exporting import CHECKED, images_of

    about = source.about
    seen = images_of(source, say)
    if seen is not None:
        say(f"checked on {seen.where}")
        return seen.images
    say(
        f"note: the images of the run ({about.data}) are not there, or are others by now, so the files are "
        f"checked on {CHECKED} images of noise"
    )
    noise = Deployable(source.network, Normalisation(about.mean, about.std), "0-255")
    return noise.example(CHECKED, about.shape)


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
    out: Path | None = Field(
        None, description="Folder of the files; by default the folder export in that of the run."
    )
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


def main(arguments: list[str]) -> None:
    """Write the network of the finished run RUN as files that need no training code."""
    command = parsed_alone("cohobate export", arguments, Command, ABOUT)
    written = export_run(
        command.run,
        command.format,
        command.out,
        weights=command.weights,
        readout=command.readout,
        values=command.values,
        opset=command.opset,
        say=print,
    )
    for each in written:
        same = "weights equal bit by bit" if each.agreement is None else str(each.agreement)
        print(f"{each.path}  {each.size / 2**20:.2f} MiB  {same}")
