"""Intersection over union of each class, of a run and of several beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...runs.pictured import read_pictured
from ...runs.reading import Run
from .comparison import Comparison
from .stats import Stat
from .text import NOTHING, mean_std

CAPTION = (
    "Intersection over union of each class in percent, at the last epoch and the size of the network's "
    "images: the pixels that are of the class and named so, over those that are or are named so, of all "
    "images together."
)


def run_rows(run: Run) -> list[dict[str, str]]:
    """A row a class, a column a split; empty of a run that did not measure it, or has not finished."""
    if run.result is None:
        return []
    measured = {f"{split} IoU, %": _each(run, split) for split in ("val", "test")}
    known = {heading: values for heading, values in measured.items() if values}
    return [
        {"class": name, **{heading: _text([values[k]]) for heading, values in known.items()}}
        for k, name in enumerate(_names([run], max(map(len, known.values()), default=0)))
    ]


def comparison_rows(comparison: Comparison, runs: Sequence[Run]) -> list[dict[str, str]]:
    """A row a class, a column a method: mean ± sample standard deviation over its seeds."""
    done = [run for run in runs if run.result is not None]
    measured = {
        entry.label: [_each(run, comparison.split) for run in done if run.name == entry.label]
        for entry in comparison.entries
    }
    known = {label: seeds for label, seeds in measured.items() if seeds and all(seeds)}
    classes = max((len(seed) for seeds in known.values() for seed in seeds), default=0)
    return [
        {"class": name, **{label: _text([seed[k] for seed in seeds]) for label, seeds in known.items()}}
        for k, name in enumerate(_names(done, classes))
    ]


def _each(run: Run, split: str) -> list[float | None]:
    """Of the reported read-out at the last epoch; empty if it was not measured."""
    measured: dict[str, Any] = (run.outcome["last"].get(split) or {}).get(run.readout) or {}
    return list(measured.get("class_iou", ()))


def _names(runs: Sequence[Run], classes: int) -> list[str]:
    """The names of the classes as the pictures of a run tell them, else their numbers."""
    told = (found.classes for run in runs if (found := read_pictured(run.folder)) is not None)
    return list(next(told, ())) or [f"class {k}" for k in range(classes)] if classes else []


def _text(values: Sequence[float | None]) -> str:
    """Nothing for a class that occurs in no mask and no prediction, with whichever seed."""
    known = [value for value in values if value is not None]
    return mean_std(Stat.of(known)) if len(known) == len(values) else NOTHING
