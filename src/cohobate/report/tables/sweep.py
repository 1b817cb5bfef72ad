"""A method over the values of one of its options: what was found.

Every error is that of the deployed predictor at the last epoch, in percent (a paper that draws top-1
accuracy draws 100 minus it). The validation error says which value is best; the test error stands beside
it, is what the figure shows, and chooses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runs.reading import Run
from .comparison import Stat


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        epoch: the last one; None if the run diverged, as are both errors.
        val: top-1 error of the deployed predictor, percent; None without a validation split.
        test: the same on the test split.
        diverged: what was said when a loss was no longer a number.
    """

    seed: int
    folder: str
    epoch: int | None
    val: float | None
    test: float | None
    diverged: str | None = None

    @classmethod
    def of(cls, run: Run, diverged: str | None = None) -> Trial:
        """What a finished run measured, or that it diverged."""
        if diverged is not None:
            return cls(int(run.config["seed"]), str(run.folder), None, None, None, diverged)
        last = run.outcome["last"]
        errors = ((last[split] or {}).get(run.predictor, {}).get("top1_error") for split in ("val", "test"))
        return cls(run.outcome["seed"], str(run.folder), last["epoch"], *errors)


@dataclass(frozen=True)
class Row:
    """A value of the option, or a method beside, over the seeds.

    Attributes:
        name: the value as it is written, or the method's label.
        value: None for a method beside.
    """

    name: str
    value: Any
    trials: tuple[Trial, ...]

    def errors(self, split: str) -> list[float]:
        """Of the runs that came to their end."""
        found = (trial.val if split == "val" else trial.test for trial in self.trials)
        return [value for value in found if value is not None]

    def stat(self, split: str) -> Stat | None:
        errors = self.errors(split)
        return Stat.of(errors) if errors else None

    @property
    def diverged(self) -> int:
        """How many runs did."""
        return sum(trial.diverged is not None for trial in self.trials)


@dataclass(frozen=True)
class Sweep:
    """A method over the values of one option.

    Attributes:
        label: the method, with its other options that are not the default ones.
        about: what the option is.
        rows: numbers ascending, words as they were given.
        beside: methods trained alike, without the option.
        marked: name of the value that is marked, and why: "marked" or "default".
        split: whose error the figure shows: "test", or "val" where the data have no test split.
        best: names of the values of lowest mean validation error; none without a validation split. Values
            at which a run diverged do not count.
        settings: what all runs share: data, model, epochs, batch size ...
        notes: what a reader must know to read the numbers right.
    """

    label: str
    option: str
    about: str
    rows: tuple[Row, ...]
    beside: tuple[Row, ...]
    marked: tuple[str, str] | None
    split: str
    best: tuple[str, ...]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]


def shown(value: Any) -> str:
    """A value as one writes it: 5e-8, 0.25, none, sgd."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return re.sub(r"e([+-]?)0*(\d)", lambda m: f"e{m[1].strip('+')}{m[2]}", f"{value:.12g}")
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value has a place on a numeric axis; a boolean has none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def gather(
    label: str,
    option: str,
    values: Mapping[Any, Sequence[Trial]],
    beside: Mapping[str, Sequence[Trial]],
    runs: Sequence[Run],
    *,
    about: str = "",
    mark: tuple[Any, str] | None = None,
    notes: Iterable[str] = (),
) -> Sweep:
    """Runs as a sweep.

    Args:
        label: of the method, without the option.
        option: its name.
        values: value -> a trial a seed.
        beside: label -> a trial a seed.
        runs: all of them; what the finished ones share is said.
        about: what the option is.
        mark: the value to mark, and why.
        notes: to be added.
    """
    order = sorted(values) if all(map(is_number, values)) else list(values)
    rows = tuple(Row(shown(value), value, tuple(values[value])) for value in order)
    others = tuple(Row(name, None, tuple(trials)) for name, trials in beside.items())
    trials = [trial for row in (*rows, *others) for trial in row.trials]
    finished = [trial for trial in trials if trial.diverged is None]
    split = "test" if all(trial.test is not None for trial in finished) else "val"
    return Sweep(
        label=label,
        option=option,
        about=about,
        rows=rows,
        beside=others,
        marked=None if mark is None else (shown(mark[0]), mark[1]),
        split=split,
        best=_best(rows),
        settings=_shared(runs),
        notes=(*_notes(option, rows, others, split), *notes),
    )


def _shared(runs: Sequence[Run]) -> dict[str, Any]:
    """What the caption can say of all runs at once."""
    facts = [{**run.config, **run.result} for run in runs if run.result is not None]
    keys = ("data", "model", "epochs", "batch_size", "train_images")
    found = {key: {fact.get(key) for fact in facts} for key in keys}
    return {key: values.pop() for key, values in found.items() if len(values) == 1}


def _best(rows: Sequence[Row]) -> tuple[str, ...]:
    sure = {row.name: row.stat("val") for row in rows if not row.diverged}
    means = {name: stat.mean for name, stat in sure.items() if stat is not None}
    return tuple(name for name, mean in means.items() if mean == min(means.values()))


def _notes(option: str, rows: Sequence[Row], beside: Sequence[Row], split: str) -> list[str]:
    said = []
    if not any(row.errors("val") for row in rows):
        said.append("There is no validation split, so nothing here may choose a value.")
    elif split == "test":
        said.append("Choose by the validation error: the test error chooses nothing.")
    else:
        said.append("There is no test split: the lowest error is on the images that chose it.")
    for row in (*rows, *beside):
        name = f"{option}={row.name}" if row in rows else row.name
        for trial in row.trials:
            if trial.diverged is not None:
                said.append(f"{name}, seed {trial.seed}, diverged: {trial.diverged.partition(';')[0]}.")
    return said
