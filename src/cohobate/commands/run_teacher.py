"""The teacher of a finished run, built again from what the run recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ..data.dataset import Dataset
from ..engine.errors import RunError
from ..recipes.job import Job
from ..recipes.networks import load
from ..runs.layout import RunFolder
from .subject import Opened


class RunTeacher(NamedTuple):
    """The teacher, if it can be built.

    Attributes:
        network: images, normalised as the run's were -> logits in the order of the run's classes; None if it
            cannot be built.
        name: as the run was told.
        missing: why there is none; empty where there is one.
    """

    network: nn.Module | None
    name: str
    missing: str = ""


def teacher_of(of: Opened, dataset: Dataset, say: Callable[[str], None]) -> RunTeacher:
    """The teacher of a run, for images of this data set.

    Args:
        of: the run.
        dataset: normalised as the run's was; whatever its classes are called.
        say: prints a line on how the teacher sees its images.
    """
    name = ", ".join(of.config.teacher)
    if not name:
        return RunTeacher(None, name, "The run has no teacher.")
    theirs = replace(dataset, classes=tuple(of.deployed.classes))
    job = Job(of.config, theirs, say, lambda spec: _trained(of, spec))
    try:
        return RunTeacher(job.teacher().network.eval(), name)
    except (ValueError, RunError, FileNotFoundError, ImportError) as error:
        return RunTeacher(None, name, f"The teacher {name} cannot be built again: {error}.")


def _trained(of: Opened, spec: str) -> nn.Module:
    """A teacher that was trained by the name of its model, from the folder that the run recorded."""
    recorded = of.run.outcome.get("teachers", [])
    folder = next((Path(teacher["folder"]) for teacher in recorded if teacher["model"] == spec), None)
    if folder is None:
        raise RunError(f"{spec} has no weights, and none was trained for the run, which does not use it")
    if not RunFolder(folder).finished:
        raise RunError(f"it was trained for the run, and is not in {folder} any more")
    return load(folder, len(of.deployed.classes)).network
