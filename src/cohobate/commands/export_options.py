"""What an export shall be, checked before anything slow. No torch here."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import tyro
from pydantic import Field, field_validator

from ..config.extras import require
from ..config.forms import Form, Values
from ..config.groups import Group
from ..config.opsets import check_opset
from ..engine.errors import RunError
from ..runs.layout import RunFolder
from .subject import On, Weights

if TYPE_CHECKING:
    from torch import nn

    from ..data.dataset import Dataset


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
        "last", description="Weights of the last epoch, or of the best one on the validation split."
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
        allow_inf_nan=True,
        description="Threshold of the cascade: an image leaves once its energy is above it; from 0 to 1, or "
        "inf: no image leaves early; by default the stored one.",
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

    @field_validator("threshold")
    @classmethod
    def _is_energy(cls, threshold: float | None) -> float | None:
        if threshold is None or 0 <= threshold <= 1 or threshold == math.inf:
            return threshold
        raise ValueError(f"an energy is from 0 to 1, or inf for no image to leave early, got {threshold}")


class Asked(NamedTuple):
    """An export as it is asked for.

    Attributes:
        command: its options.
        network: of a run from Python, as it was built for it; else None, or instead of the run's.
        dataset: images in memory on which the files are checked; None: those of the run, or of ``--data``.
    """

    command: Command
    network: nn.Module | None = None
    dataset: Dataset | None = None

    @property
    def on(self) -> On:
        """Where the images lie on which the files are checked, if not where the run had them."""
        return On(self.command.data, self.command.data_root, dataset=self.dataset)

    @property
    def folder(self) -> Path:
        """Of the files."""
        out = self.command.out
        return RunFolder(self.command.run).export if out is None else out

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: an unknown name or opset, or not a run folder.
            ImportError: a library is missing; the message names the extra.
            RunError: the run has not finished, or has no such weights; the folder of the files cannot be one.
        """
        self._check_names()
        self._check_cascade()
        self._check_run()
        self._check_folder()
        if self.command.int8:
            require("export", "--int8")
        if "onnx" in self.command.format:
            require_onnx()
        if self.command.opset is not None:
            check_opset(self.command.opset)

    def _check_names(self) -> None:
        if not self.command.format:
            raise ValueError(f"no format is given; there are {', '.join(get_args(Form))}")
        if self.command.opset is not None and "onnx" not in self.command.format and not self.command.int8:
            raise ValueError("--opset has no effect without --format onnx: give it, or leave it out")
        if self.command.calibration_images is not None and not self.command.int8:
            raise ValueError("--calibration-images has no effect without --int8: give it, or leave it out")

    def _check_cascade(self) -> None:
        command = self.command
        if command.threshold is not None and not command.adaptive:
            raise ValueError("--threshold has no effect without --adaptive: give it, or leave it out")
        if not command.adaptive:
            return
        if other := [form for form in command.format if form != "onnx"]:
            raise ValueError(
                f"--adaptive writes ONNX files and what runs them, no {other[0]}: leave --format out, or "
                f"give --format {other[0]} without --adaptive for the whole sum"
            )
        if self.network is not None:
            raise ValueError(
                "adaptive writes the networks of a run that was made by name; export your own without "
                "adaptive"
            )
        if command.int8:
            raise ValueError(
                "--adaptive writes the networks of a cascade one by one, and --int8 the whole sum: give one "
                "of the two, or one after the other"
            )
        if command.readout is not None:
            raise ValueError(
                f"--adaptive is of the sum that the run deployed, and not of its read-out {command.readout}: "
                "give one of the two"
            )

    def _check_run(self) -> None:
        folder, weights, readout = self.command.run, self.command.weights, self.command.readout
        from ..runs.finding import made_from_python
        from ..runs.reading import read_run, require_finished

        require_finished(folder)
        run = read_run(folder)
        method = str(run.config["method"])
        if self.network is not None and not hasattr(self.network, "state_dict"):
            raise ValueError(
                f"network= is the network as it was built for the run, a torch.nn.Module, got "
                f"{type(self.network).__name__}"
            )
        if self.network is None and made_from_python(method):
            raise RunError(
                f"{folder} was trained from Python (cohobate.fit with {method}), which cannot be built "
                f"again from its name: build the network, then cohobate.export('{folder}', network=network)"
            )
        if run.outcome[weights] is None:
            raise RunError(
                f"{folder} has no best weights, since it has no validation split; give --weights last"
            )
        known = readouts_of(run.outcome)
        if readout is not None and readout not in known:
            raise ValueError(f"{folder} has no read-out {readout!r}; it has {', '.join(known)}")
        if self.network is not None and readout not in (None, known[0]):
            raise ValueError(
                f"network= gets the weights of {known[0]!r}; readout {readout!r} is another predictor: "
                "leave one of them out"
            )

    def _check_folder(self) -> None:
        folders = (self.folder, *self.folder.absolute().parents)
        there = next(each for each in folders if os.path.lexists(each))
        if not there.is_dir():
            raise RunError(f"{there} is a file, so the files of the export cannot lie in {self.folder}")
        if not os.access(there, os.W_OK | os.X_OK):
            raise RunError(f"{there} cannot be written, so nothing is exported to {self.folder}; see --out")


def require_onnx() -> None:
    """Import what an ONNX file needs, without torch.

    Raises:
        ImportError: a library is missing; the message names the extra.
    """
    require("export", "--format onnx")


def readouts_of(outcome: dict[str, Any]) -> list[str]:
    """The predictors that a finished run can hand out, the deployed one first; of old runs only that one."""
    return list(outcome.get("readouts", [outcome["predictor"]]))
