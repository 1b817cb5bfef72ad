"""Teachers that were trained for runs by the names of their models, and are shared by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ...config.words import count
from ...core.metrics import Metric
from ...runs.reading import Run
from .text import duration, millions_of, stem, valued

CAPTION = (
    "Teachers, each trained once and shared by the methods that learn from it; their training is no part of "
    "the methods' train times."
)


@dataclass(frozen=True)
class SharedTeacher:
    """A teacher that was trained for runs.

    Attributes:
        model: its name.
        folder: of its own run.
        measured: its headline metric on ``split``, at its last epoch.
        epochs: that it was trained for.
        train_seconds: of its training, which belongs to none of the runs.
        taught: labels of the methods that learn from it.
    """

    model: str
    folder: str
    split: str
    measured: float
    epochs: int
    parameters: int
    train_seconds: float
    taught: tuple[str, ...]

    @classmethod
    def of(cls, facts: Mapping[str, Any], taught: tuple[str, ...] = ()) -> SharedTeacher:
        """From what a run's result records of it; its metric is ``error`` there, or under its own name."""
        names = {each.name for each in fields(cls)}
        (measured,) = facts.keys() - names
        known = {name: value for name, value in facts.items() if name in names}
        return cls(**known, measured=facts[measured], taught=taught)

    def record(self, metric: Metric) -> dict[str, Any]:
        """For JSON, its metric under the name that it has there."""
        return {stem(metric) if key == "measured" else key: value for key, value in asdict(self).items()}


def shared_teachers(runs: Iterable[Run]) -> list[SharedTeacher]:
    """The teachers of finished runs, each once; those given as files or run folders are not among them."""
    facts: dict[str, Mapping[str, Any]] = {}
    taught: dict[str, dict[str, None]] = {}
    for run in runs:
        for teacher in run.outcome.get("teachers", []):
            facts[teacher["folder"]] = teacher
            taught.setdefault(teacher["folder"], {})[run.name] = None
    return [SharedTeacher.of(teacher, tuple(taught[folder])) for folder, teacher in facts.items()]


def teacher_rows(teachers: Sequence[SharedTeacher], metric: Metric) -> list[dict[str, str]]:
    """A row a teacher, heading -> text; empty without teachers."""
    unit = f", {metric.unit}" if metric.unit else ""
    return [
        {
            "teacher": f"{teacher.model} (shared)",
            f"{metric.title}{unit}": f"{teacher.measured:.2f} ({teacher.split})",
            "epochs": str(teacher.epochs),
            "train time": duration(teacher.train_seconds),
            "parameters": millions_of(teacher.parameters, 2),
            "taught": ", ".join(teacher.taught),
        }
        for teacher in teachers
    ]


def teacher_lines(teachers: Sequence[SharedTeacher], metric: Metric) -> list[str]:
    """A sentence a teacher, where there is no room for a table."""
    return [
        f"Teacher {teacher.model} (shared, not in any train time): {teacher.split} "
        f"{valued(metric, teacher.measured)}, {millions_of(teacher.parameters, 2)} parameters, trained in "
        f"{duration(teacher.train_seconds)} ({count(teacher.epochs, 'epoch')})."
        for teacher in teachers
    ]
