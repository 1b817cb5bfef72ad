"""What an exported file says about itself, and the names of the files of an export."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..config.forms import Form, Values
from ..core import Task
from ..engine.errors import RunError


class Int8(BaseModel):
    """What became of a network in 8-bit integers.

    Attributes:
        choices: how it was quantised, in words.
        calibrated_on: data and split of the images of which the ranges of its activations were taken.
        calibration_images: how many.
        measured_on: data and split of the images on which it was measured.
        images: how many.
        error, float_error: its top-1 error on them in percent, and that of the same network in floats; None
            where every pixel has a class.
        miou, float_miou: its mean intersection over union on them in percent, and that of the same network in
            floats; None where each image has one class.
        other_labels: images, or pixels, for which the two predict different labels.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    choices: str
    calibrated_on: str
    calibration_images: int
    measured_on: str
    images: int
    error: float | None = None
    float_error: float | None = None
    miou: float | None = None
    float_miou: float | None = None
    other_labels: int

    @model_validator(mode="after")
    def _measured_once(self) -> Int8:
        if (self.error is None) == (self.miou is None) or None in self._pair:
            raise ValueError("the file in 8 bits and that in floats have an error each, or a miou each")
        return self

    @property
    def measure(self) -> str:
        """What was measured, in words."""
        return "top-1 error" if self.error is not None else "mIoU"

    @property
    def _pair(self) -> tuple[float | None, float | None]:
        return (self.error, self.float_error) if self.error is not None else (self.miou, self.float_miou)

    @property
    def values(self) -> tuple[float, float]:
        """Of the file in 8 bits, and of the network in floats."""
        own, floats = self._pair
        return own or 0.0, floats or 0.0

    @property
    def points(self) -> float:
        """Points that 8 bits cost; negative where they gain some."""
        own, floats = self.values
        return own - floats if self.error is not None else floats - own


class About(BaseModel):
    """What an exported network was made for and from: the metadata of its file.

    Attributes:
        classes: names, in the order of the logits.
        shape: (C, H, W) of its images.
        task: whether logits are of an image, (B, K), or of every pixel, (B, K, H, W).
        mean, std: of each channel, in units of 0 to 1.
        values: that its images have: "0-255" (uint8), "0-1", or "normalised" by mean and std.
        fit, background, eval_resize, averaged_from: how a picture of any size becomes such an image
            (:class:`cohobate.Reading`).
        model: of the network, by which it can be built again; None: a network of the user's own.
        members: of a sum, the models of its networks; else empty.
        readout: the predictor of the method that this is.
        stage: of one network of a cascade, whose logits are summed: (number from 1, of how many).
        method, label, seed: of the run.
        weights, epoch: of which epoch; "last", or "best" on the validation split.
        data, data_fingerprint: that it learned from.
        errors: split -> measure -> value, of these weights.
        parameters, macs: of one image.
        precision: in which it was trained and measured: fp32 or bf16; the file itself computes in fp32.
        cohobate, torch: versions that wrote it.
        weights_digest: of the weights that were exported (:func:`cohobate.engine.checkpoint.weights_digest`);
            in a network of a cascade it is that of the whole sum.
        int8: of a file in 8-bit integers, whose error is not the one in ``errors``; else None.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    classes: tuple[str, ...] = Field(min_length=1)
    shape: tuple[int, int, int]
    task: Task = "classification"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    values: Values
    fit: Literal["crop", "pad", "squash"] = "crop"
    background: str = "white"
    eval_resize: int | None = Field(default=None, ge=1)
    averaged_from: tuple[int, int] | None = None
    model: str | None = None
    members: tuple[str, ...] = ()
    readout: str = ""
    stage: tuple[int, int] | None = None
    method: str = ""
    label: str = ""
    seed: int | None = None
    weights: str = ""
    epoch: float | None = None
    data: str = ""
    data_fingerprint: str = ""
    errors: dict[str, dict[str, float]] = {}
    parameters: int | None = None
    macs: int | None = None
    precision: str = "fp32"
    cohobate: str = ""
    torch: str = ""
    weights_digest: str = ""
    int8: Int8 | None = None

    def to_metadata(self) -> dict[str, str]:
        """Name -> value: a text as it is, anything else as JSON."""
        record = self.model_dump(mode="json")
        return {
            # A path may hold bytes that are no text.
            key: value.encode("utf-8", "backslashreplace").decode()
            if isinstance(value, str)
            else json.dumps(value, allow_nan=False)
            for key, value in record.items()
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path | str) -> About:
        """The inverse of :meth:`to_metadata`.

        Args:
            metadata: of a file.
            path: of the file, for messages.

        Raises:
            RunError: the file was not exported by cohobate, or its metadata was changed.
        """
        record = {
            key: _value(text, cls.model_fields[key].annotation)
            for key, text in metadata.items()
            if key in cls.model_fields
        }
        return cls.of(record, path)

    @classmethod
    def of(cls, record: Mapping[str, Any], path: Path | str) -> About:
        """Of values as they are.

        Raises:
            RunError: as :meth:`from_metadata`.
        """
        try:
            about = cls.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise RunError(
                f"{path} does not say of itself what a file exported by cohobate says: {name}: {first['msg']}"
            ) from error
        channels = about.shape[0]
        wrong = not channels == len(about.mean) == len(about.std) or min(about.shape) < 1
        if wrong or min(about.std) <= 0:
            raise RunError(
                f"{path} says shape {about.shape}, mean {about.mean}, std {about.std}: no image has these"
            )
        if about.eval_resize is not None and about.eval_resize < min(about.shape[1:]):
            raise RunError(
                f"{path} says eval_resize {about.eval_resize} of images of shape {about.shape}, and no such "
                "image can be cut out of a smaller one"
            )
        if about.averaged_from is not None and any(
            have < wanted for have, wanted in zip(about.averaged_from, about.shape[1:], strict=True)
        ):
            raise RunError(
                f"{path} says averaged_from {about.averaged_from} of images of shape {about.shape}, and "
                "images are only made smaller"
            )
        return about


def _value(text: str, kind: Any) -> Any:
    """The inverse of :meth:`About.to_metadata`; what it cannot be is refused by the check of its type."""
    if kind is str:
        return text
    if kind == (str | None):
        # A plain text, and JSON's null: the model of a network of one's own.
        return None if text == "null" else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class ExportFolder(NamedTuple):
    """A folder with an exported network.

    Attributes:
        path: of the folder.
    """

    path: Path

    def network(self, form: Form) -> Path:
        """The network in this form."""
        return self.path / f"model.{form}"

    @property
    def int8(self) -> Path:
        """The ONNX file in int8."""
        return self.path / "model.int8.onnx"

    @property
    def config(self) -> Path:
        """What timm and the Hugging Face hub read beside the weights of a network of timm."""
        return self.path / "config.json"

    def stage(self, number: int) -> Path:
        """A network of a cascade, as an ONNX file."""
        return self.path / f"stage-{number}.onnx"

    @property
    def cascade(self) -> Path:
        """The networks of a cascade, its threshold and its classes."""
        return self.path / "cascade.json"

    @property
    def runner(self) -> Path:
        """What runs a cascade without PyTorch."""
        return self.path / "cascade.py"

    @property
    def networks(self) -> Iterator[Path]:
        """The files that may hold a network, by their names, and that are there."""
        paths = [self.network(form) for form in get_args(Form)] + [self.int8]
        yield from (path for path in paths if path.is_file())
        number = 0
        while self.stage(number).is_file():
            yield self.stage(number)
            number += 1

    @property
    def record(self) -> Path:
        """What the checks of the files found, and the commands that exported them."""
        return self.path / "export.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def cards(self) -> Iterator[Path]:
        """Where the card may lie, one after the other, if the places before are taken."""
        yield self.card
        yield self.path / "model-card.md"
        for number in count(2):
            yield self.path / f"model-card-{number}.md"
