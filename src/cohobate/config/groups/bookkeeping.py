"""Folders, measurements and checkpoints. None of these options changes a weight."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..extras import TRACKERS
from ..objects import nearest
from .group import UNSHARED, Group


class Bookkeeping(Group):
    """Folders, measurements and checkpoints. None of these options changes a weight."""

    data_root: Path = Field(
        default=Path("data"), description="Folder that holds the files of the data sets that have a name."
    )
    workers: int = Field(
        default=2,
        ge=0,
        description="Number of processes that decode the images of a folder, if they are larger than 64 "
        "pixels; of threads that scale and crop images with masks, where these are kept in memory; 0: the "
        "main process does it.",
    )
    check: bool = Field(
        default=True,
        description="Look at the header and the end of every image file of a folder before the training, so "
        "that one that cannot be read is found at once.",
    )
    teachers: Path = Field(
        default=Path("runs/teachers"),
        description="Folder in which teachers that --teacher names are kept after their training.",
    )
    keep_epochs: Annotated[tuple[int, ...], UNSHARED] = Field(
        default=(),
        description="Epochs, numbered from 1, after which a copy of the weights is kept, for `cohobate "
        "attention`; by default none.",
    )
    log_train: Annotated[bool, UNSHARED] = Field(
        default=False, description="Also measure on the training images after each epoch."
    )
    log_test: Annotated[bool, UNSHARED] = Field(
        default=False,
        description="Also measure on the test images after each epoch; nothing is chosen by it.",
    )
    track: Annotated[tuple[str, ...], UNSHARED] = Field(
        default=(),
        description="Trackers that are told the options, every epoch and the result of the run, besides its "
        "own files: tensorboard, wandb (offline unless WANDB_MODE is set), mlflow; by default none.",
    )
    readout: Annotated[str | None, UNSHARED] = Field(
        default=None,
        description="Read-out whose metrics the tables and figures of several runs report: leader, peer_1, "
        "ensemble, peer_mean (the mean over the peers) ...; by default that of the deployed network.",
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="Minutes after which the run writes a checkpoint and stops; the same command goes on "
        "from there. By default there is no limit.",
    )
    resume: Literal["exact", "anyway"] = Field(
        default="exact",
        description="Whether an interrupted run goes on if torch, the threads or the processes have changed: "
        "exact refuses, anyway goes on.",
    )

    @field_validator("track")
    @classmethod
    def _are_trackers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in TRACKERS:
                raise ValueError(f"no tracker {name!r}; the nearest are {nearest(name, TRACKERS)}")
            if value.count(name) > 1:
                raise ValueError(f"the tracker {name} stands twice; give each once")
        return value
