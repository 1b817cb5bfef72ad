"""A method over the values of one of its options: what was measured.

Every number is the headline metric of the deployed predictor, or of another read-out where that is asked for
(``readout``), at the last epoch (a paper that draws top-1
accuracy draws 100 minus the top-1 error). The validation split says which value is best; the number on the
test split stands beside it, is what the figure shows, and chooses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.metrics import Metric
from ...runs.reading import Run, shared_headline
from .phases import alone_notes, phase_notes
from .readouts import reported_notes
from .stats import Stat
from .teachers import shared_teachers, teacher_lines
from .text import extreme


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        epoch: the last one; None if the run diverged, as are both measurements.
        val: headline metric of the reported read-out; None without a validation split.
        test: the same on the test split.
        diverged: the message about the loss that was no longer a number; None if the run finished.
    """

    seed: int
    folder: str
    epoch: int | None
    val: float | None
    test: float | None
    diverged: str | None = None

    @classmethod
    def of(cls, run: Run, diverged: str | None = None) -> Trial:
        """What a finished run measured, or that it diverged.

        Raises:
            ValueError: it did not measure the read-out that is to be reported.
        """
        if diverged is not None:
            return cls(int(run.config["seed"]), str(run.folder), None, None, None, diverged)
        last = run.outcome["last"]
        val, test = (
            run.measured(last, split)[run.headline.name] if last[split] else None for split in ("val", "test")
        )
        return cls(run.outcome["seed"], str(run.folder), last["epoch"], val, test)


@dataclass(frozen=True)
class Row:
    """One value of the option, or a method without the option, over the seeds.

    Attributes:
        name: the value as it is written, or the method's label.
        value: None for a method without the option.
    """

    name: str
    value: Any
    trials: tuple[Trial, ...]

    def measured(self, split: str) -> list[float]:
        """The headline metric of each run that finished."""
        values = (trial.val if split == "val" else trial.test for trial in self.trials)
        return [value for value in values if value is not None]

    def stat(self, split: str) -> Stat | None:
        """Over the runs that finished; None where none did."""
        values = self.measured(split)
        return Stat.of(values) if values else None

    @property
    def diverged(self) -> int:
        """How many runs diverged."""
        return sum(trial.diverged is not None for trial in self.trials)


@dataclass(frozen=True)
class Sweep:
    """A method over the values of one option.

    Attributes:
        label: the method, with its other options that are not the default ones.
        about: what the option is.
        metric: the headline metric of all runs.
        rows: numbers ascending, words in the order of the command.
        beside: methods trained alike, without the option.
        marked: name of the value that is marked, and why: "marked" or "default".
        split: which split the figure shows: "test", or "val" where the data have no test split.
        best: names of the values with the best mean on the validation split; none without such a split.
            Values at which a run diverged do not count.
        settings: what all runs share: data, model, epochs, batch size ...
        notes: what a reader must know to read the numbers right.
    """

    label: str
    option: str
    about: str
    metric: Metric
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
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.12g}"
    digits, e, exponent = (short if float(short) == value else repr(value)).partition("e")
    return f"{digits}e{int(exponent)}" if e else digits


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
    """Trials as a sweep.

    Args:
        label: of the method, without the option.
        option: name of the option.
        values: value -> one trial for each seed.
        beside: label of a method without the option -> one trial for each seed.
        runs: all of them; the caption says what the finished ones share.
        about: what the option is.
        mark: the value to mark, and why.
        notes: sentences to add to the sweep's own.

    Raises:
        ValueError: the runs have different headline metrics.
    """
    metric = shared_headline(runs)
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
        metric=metric,
        rows=rows,
        beside=others,
        marked=None if mark is None else (shown(mark[0]), mark[1]),
        split=split,
        best=_best(rows, metric),
        settings=_shared(runs),
        notes=(
            *_notes(option, metric, rows, others, split),
            *reported_notes([run for run in runs if run.result is not None]),
            *_of_runs(runs, metric),
            *notes,
        ),
    )


def _shared(runs: Sequence[Run]) -> dict[str, Any]:
    """What the caption can say of all runs at once."""
    facts = [{**run.config, **run.result} for run in runs if run.result is not None]
    keys = ("data", "model", "epochs", "batch_size", "train_images")
    recorded = {key: {fact.get(key) for fact in facts} for key in keys}
    return {key: values.pop() for key, values in recorded.items() if len(values) == 1}


def _best(rows: Sequence[Row], metric: Metric) -> tuple[str, ...]:
    finished = {row.name: row.stat("val") for row in rows if not row.diverged}
    means = {name: stat.mean for name, stat in finished.items() if stat is not None}
    best = (min if metric.lower_is_better else max)(means.values(), default=None)
    return tuple(name for name, mean in means.items() if mean == best)


def _of_runs(runs: Sequence[Run], metric: Metric) -> list[str]:
    """Phases, early stopping and shared teachers of the runs that finished."""
    done = [run for run in runs if run.result is not None]
    teachers = teacher_lines(shared_teachers(done), metric)
    return [*alone_notes(done), *phase_notes(done, metric), *teachers]


def _notes(option: str, metric: Metric, rows: Sequence[Row], beside: Sequence[Row], split: str) -> list[str]:
    notes = []
    if not any(row.measured("val") for row in rows):
        notes.append("There is no validation split, so nothing here may choose a value.")
    elif split == "test":
        notes.append(
            f"Choose by the {metric.title} on the validation split: that on the test split chooses nothing."
        )
    else:
        notes.append(
            f"There is no test split: the {extreme(metric)} {metric.title} is on the images that chose it."
        )
    for row in (*rows, *beside):
        name = f"{option}={row.name}" if row in rows else row.name
        for trial in row.trials:
            if trial.diverged is not None:
                notes.append(f"{name}, seed {trial.seed}, diverged: {trial.diverged.partition(';')[0]}.")
    return notes
