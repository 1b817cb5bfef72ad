"""What an export shall be, checked before anything slow. No torch here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ..config.extras import require
from ..config.forms import Form, Values
from ..config.objects import nearest
from ..config.opsets import check_opset
from ..engine.errors import RunError
from ..runs.layout import RunFolder
from .subject import On, Weights

if TYPE_CHECKING:
    from torch import nn


class Asked(NamedTuple):
    """An export as it is asked for.

    Attributes:
        run: folder of a finished run.
        forms: of files.
        out: folder of the files; None: ``export`` in that of the run.
        weights: of the last epoch, or of the best one on the validation split.
        readout: a predictor of the method that is not deployed; None: the deployed one.
        values: that the images have which the files take.
        opset: of an ONNX file; None: :data:`cohobate.config.opsets.OPSET`.
        on: where the images lie on which the files are checked, if not where the run had them.
        network: of a run from Python, as it was built for it; else None, or instead of the run's.
        adaptive: whether the deployed sum is written as a cascade: its networks, and what runs them.
        threshold: of the cascade, an energy in [0, 1] or math.inf; None: the stored one.
        int8: whether an ONNX file in 8-bit integers is wanted too.
        calibration_images: that set the ranges of its activations; None: 500.
    """

    run: Path
    forms: Sequence[Form] = ("onnx",)
    out: Path | None = None
    weights: Weights = "last"
    readout: str | None = None
    values: Values = "0-255"
    opset: int | None = None
    on: On = On()
    network: nn.Module | None = None
    adaptive: bool = False
    threshold: float | None = None
    int8: bool = False
    calibration_images: int | None = None

    @property
    def folder(self) -> Path:
        """Of the files."""
        return RunFolder(self.run).export if self.out is None else self.out

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
        if self.int8:
            require("export", "--int8")
        if "onnx" in self.forms:
            require_onnx()
        if self.opset is not None:
            check_opset(self.opset)

    def _check_names(self) -> None:
        for what, given, kind in (
            *(("format", form, Form) for form in self.forms),
            ("values", self.values, Values),
            ("weights", self.weights, Weights),
        ):
            if given not in get_args(kind):
                known = get_args(kind)
                raise ValueError(
                    f"unknown {what} {given!r}; there are {', '.join(known)}, the nearest is "
                    f"{nearest(str(given), known).partition(',')[0]}"
                )
        if not self.forms:
            raise ValueError(f"no format is given; there are {', '.join(get_args(Form))}")
        if self.opset is not None and "onnx" not in self.forms and not self.int8:
            raise ValueError("--opset has no effect without --format onnx: give it, or leave it out")
        if self.calibration_images is not None and not self.int8:
            raise ValueError("--calibration-images has no effect without --int8: give it, or leave it out")
        if self.calibration_images is not None and self.calibration_images < 1:
            raise ValueError(f"--calibration-images must be 1 or more, got {self.calibration_images}")

    def _check_cascade(self) -> None:
        if self.threshold is not None and not self.adaptive:
            raise ValueError("--threshold has no effect without --adaptive: give it, or leave it out")
        if not self.adaptive:
            return
        if other := [form for form in self.forms if form != "onnx"]:
            raise ValueError(
                f"--adaptive writes ONNX files and what runs them, no {other[0]}: leave --format out, or "
                f"give --format {other[0]} without --adaptive for the whole sum"
            )
        if self.network is not None:
            raise ValueError(
                "adaptive writes the networks of a run that was made by name; export your own without "
                "adaptive"
            )
        if self.int8:
            raise ValueError(
                "--adaptive writes the networks of a cascade one by one, and --int8 the whole sum: give one "
                "of the two, or one after the other"
            )
        if self.readout is not None:
            raise ValueError(
                f"--adaptive is of the sum that the run deployed, and not of its read-out {self.readout}: "
                "give one of the two"
            )

    def _check_run(self) -> None:
        from ..runs.finding import made_from_python
        from ..runs.reading import read_run, require_finished

        require_finished(self.run)
        run = read_run(self.run)
        method = str(run.config["method"])
        if self.network is None and made_from_python(method):
            raise RunError(
                f"{self.run} was trained from Python (cohobate.fit with {method}), which cannot be built "
                f"again from its name: build the network, then cohobate.export('{self.run}', network=network)"
            )
        if run.outcome[self.weights] is None:
            raise RunError(
                f"{self.run} has no best weights, since it has no validation split; give --weights last"
            )
        known = readouts_of(run.outcome)
        if self.readout is not None and self.readout not in known:
            raise ValueError(f"{self.run} has no read-out {self.readout!r}; it has {', '.join(known)}")
        if self.network is not None and self.readout not in (None, known[0]):
            raise ValueError(
                f"network= gets the weights of {known[0]!r}; readout {self.readout!r} is another predictor: "
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
