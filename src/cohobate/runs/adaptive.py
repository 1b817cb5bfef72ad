"""What sample-adaptive inference does with the sum that a run deployed: ``adaptive.json`` in its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from .layout import RunFolder

Reading = Literal["sum", "added"]
"""What is compared with the threshold: the energy of the summed logits, or the energies added up."""

NEVER = "never"
"""Stands for a threshold that no energy exceeds, math.inf, which JSON cannot represent."""


def to_record(threshold: float) -> float | str:
    """A threshold as a file holds it."""
    return NEVER if threshold == math.inf else threshold


def from_record(value: object) -> object:
    """The inverse of :func:`to_record`; anything else stays as it is."""
    return math.inf if value == NEVER else value


Threshold = Annotated[float, BeforeValidator(from_record), PlainSerializer(to_record)]


class Record(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ChosenOn(Record):
    """D_v, the images on which the threshold is chosen.

    Attributes:
        split: of the run's data, from which they are.
        images: how many.
        trained_on: whether the networks learned from them.
    """

    split: str
    images: int
    trained_on: bool


class Member(Record):
    """A network of the sum, or the teacher, with its cost of one image."""

    name: str
    model: str
    parameters: int
    macs: int


class TradeOff(Record):
    """What the cascade does with one threshold on one set of images.

    Attributes:
        threshold: an energy, or math.inf.
        accuracy: percent.
        macs: mean multiply-accumulates of an image.
        exits: share of the images that leave after each network, in sum 1.
    """

    threshold: Threshold
    accuracy: float
    macs: float
    exits: tuple[float, ...]


class Row(Record):
    """A network on the images measured.

    Attributes:
        name: "S_0", "S_1" ..., "adaptive", "teacher".
        accuracy, error: percent.
        macs: mean multiply-accumulates of an image.
        percent_of_sum, percent_of_teacher: of theirs.
        milliseconds: mean time of an image, median over the rounds.
        exits: of the adaptive one, see :class:`TradeOff`; of others empty.
    """

    name: str
    accuracy: float
    error: float
    macs: float
    percent_of_sum: float
    percent_of_teacher: float | None
    milliseconds: float
    exits: tuple[float, ...] = ()


class Timing(Record):
    """How the times were measured: rounds over the same images in batches, one network after the other."""

    device: str
    threads: int
    precision: str
    images: int
    batch_size: int
    rounds: int


class Adaptive(Record):
    """Sample-adaptive inference of one run, measured.

    Attributes:
        weights: "last" or "best".
        data: name or folder of the images measured.
        split: of them.
        images: how many.
        threshold: that was chosen.
        rule: by which, in words.
        energy: its reading, "sum" or "added".
        chosen_on: D_v; None where the run's data is not there any more.
        networks: S_0, R_1 ... R_n, and the teacher where there is one.
        no_teacher: why there is none; empty where there is one.
        rows: S_0, every prefix, the full sum, the adaptive one, the teacher.
        timing: of the rows.
        on_chosen: of the chosen threshold on D_v.
        curve_chosen: trade-off over thresholds on D_v; empty without D_v.
        curve_measured: the same on the images measured.
        moved: how many images left the cascade elsewhere than the logits of whole batches say, by rounding.
        same_images: whether D_v is among the images measured.
    """

    weights: Literal["last", "best"]
    data: str
    split: str
    images: int
    threshold: Threshold
    rule: str
    energy: Reading
    chosen_on: ChosenOn | None
    networks: tuple[Member, ...]
    no_teacher: str
    rows: tuple[Row, ...]
    timing: Timing
    on_chosen: TradeOff | None
    curve_chosen: tuple[TradeOff, ...]
    curve_measured: tuple[TradeOff, ...]
    moved: int
    same_images: bool

    @property
    def members(self) -> tuple[Member, ...]:
        """The networks of the sum."""
        return self.networks[: len(self.networks) - (not self.no_teacher)]

    def row(self, name: str) -> Row | None:
        """The row of a network."""
        return next((row for row in self.rows if row.name == name), None)


def write_adaptive(folder: Path, adaptive: Adaptive) -> Path:
    """Write the file, whole or not at all."""
    from ..engine.checkpoint import write_json

    path = RunFolder(folder).adaptive
    write_json(path, adaptive.model_dump(mode="json"))
    return path


def read_adaptive(folder: Path) -> Adaptive | None:
    """The measurements of a run; None if there are none.

    Raises:
        ValueError: the file has another form; the message names it and the remedy.
    """
    path = RunFolder(folder).adaptive
    if not path.is_file():
        return None
    try:
        return Adaptive.model_validate(json.loads(path.read_bytes()))
    except (ValueError, ValidationError) as error:
        first = str(error).replace("\n", " ")
        raise ValueError(
            f"{path} is not what `cohobate evaluate --adaptive` writes ({first}); evaluate {folder} again, "
            "or remove the file"
        ) from error
