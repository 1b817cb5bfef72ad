"""Methods compared over seeds: what was measured, and with what uncertainty.

Every number is that of the deployed predictor, or of another read-out where that is asked for (``readout``).
The gain is paired: runs with the same seed share their
data order and initialisation as far as the methods allow, so the difference is taken seed by seed
before it is averaged, and its uncertainty is that of the differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...config.words import named
from ...core.metrics import Metric
from ...runs.reading import Run, shared_headline
from .differences import computed_notes, differences
from .found import found_notes
from .phases import alone_notes, phase_notes
from .readouts import ReadOut, read_outs, reported_notes
from .stats import Gain, Stat
from .teachers import SharedTeacher, shared_teachers


@dataclass(frozen=True)
class Seed:
    """One finished run. ``last`` and ``best``: the metrics at that epoch, on the comparison's split."""

    seed: int
    folder: str
    last_epoch: int
    last: dict[str, float]
    best_epoch: int | None
    best: dict[str, float] | None
    train_seconds: float
    parameters_trained: int
    parameters_deployed: int
    macs: int


@dataclass(frozen=True)
class Entry:
    """One method (one label) over its seeds.

    Attributes:
        last: the headline metric at the last epoch.
        best: the same at the epoch that was best on the validation split; None without such a split.
        gain: over the baseline at the last epoch; None for the baseline itself and where no seed
            is shared.
        train_ratio: train seconds over the baseline's, seed by seed; None where no seed is shared.
        readouts: every predictor that was measured at the last epoch, the deployed one too.
    """

    label: str
    method: str
    options: dict[str, Any]
    last: Stat
    best: Stat | None
    gain: Gain | None
    parameters_trained: Stat
    parameters_deployed: Stat
    macs: Stat
    train_seconds: Stat
    train_ratio: Stat | None
    readouts: tuple[ReadOut, ...]
    seeds: tuple[Seed, ...]


@dataclass(frozen=True)
class Comparison:
    """Methods trained alike, the baseline first.

    Attributes:
        metric: the headline metric of all runs.
        split: on which it is measured: "test", or "val" where the data set has no test split.
        notes: what a reader must know to read the numbers right.
        diverged: label -> seed -> the message about a run whose loss was no longer a number.
        teachers: that were trained for the runs.
    """

    baseline: str
    metric: Metric
    split: str
    data: str
    model: str
    epochs: int
    batch_size: int | None
    train_images: int
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    diverged: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    teachers: tuple[SharedTeacher, ...] = ()

    @property
    def has_best(self) -> bool:
        return all(entry.best is not None for entry in self.entries)

    @property
    def has_readouts(self) -> bool:
        """Whether of any method more than the deployed predictor was measured."""
        return any(len(entry.readouts) > 1 for entry in self.entries)

    @property
    def never_finished(self) -> list[str]:
        """Labels of the methods that diverged with every seed: they have no entry."""
        finished = {entry.label for entry in self.entries}
        return [label for label in self.diverged if label not in finished]


def compare(
    runs: Sequence[Run], baseline: str, diverged: Mapping[str, Mapping[int, str]] | None = None
) -> Comparison:
    """Finished runs grouped by label, against the baseline; runs that have not finished are noted.

    Args:
        runs: of one data set, model, length and batch size; without those that diverged.
        baseline: the label of the method that the others are measured against.
        diverged: label -> seed -> message, of runs that ended because their loss was no longer a number.

    Raises:
        ValueError: no finished run; no such label; runs that were not made alike or have different headline
            metrics; the same seed twice under one label.
    """
    diverged = diverged or {}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.result is not None:
            groups.setdefault(run.name, []).append(run)
    if baseline not in groups and not (groups and baseline in diverged):
        raise ValueError(f"no finished run is labelled {baseline!r}, the baseline; labels: {list(groups)}")
    if baseline in groups:
        groups = {baseline: groups.pop(baseline), **groups}
    metric = shared_headline(runs)
    settings = _settings([run for group in groups.values() for run in group])
    split = "test" if settings.pop("a test split") else "val"
    settings.pop("a validation split")
    seeds = {label: _seeds(group, split) for label, group in groups.items()}
    base = seeds.get(baseline, ())
    return Comparison(
        baseline=baseline,
        metric=metric,
        split=split,
        entries=tuple(_entry(groups[label], split, own, base) for label, own in seeds.items()),
        notes=(*_divergences(baseline, seeds, diverged), *_notes(runs, metric, split, seeds, diverged)),
        diverged=diverged,
        teachers=tuple(shared_teachers(run for group in groups.values() for run in group)),
        **settings,
    )


def _settings(runs: Sequence[Run]) -> dict[str, Any]:
    """What must not differ between the runs of one comparison."""
    read: dict[str, Callable[[Run], Any]] = {
        "data": lambda run: run.outcome["data"],
        "model": lambda run: run.outcome["model"],
        "epochs": lambda run: run.outcome["epochs"],
        "batch_size": lambda run: run.config.get("batch_size"),
        "train_images": lambda run: run.outcome["train_images"],
        "a test split": lambda run: bool(run.outcome["last"].get("test")),
        "a validation split": lambda run: bool(run.outcome["best"]),
    }
    return {what: _shared(what, runs, value) for what, value in read.items()}


def _shared(what: str, runs: Sequence[Run], read: Callable[[Run], Any]) -> Any:
    values: dict[Any, Run] = {}
    for run in runs:
        values.setdefault(read(run), run)
    if len(values) > 1:
        each = ", ".join(f"{value!r} ({run.folder})" for value, run in values.items())
        raise ValueError(f"runs of one comparison must not differ in {what.replace('_', ' ')}: {each}")
    return next(iter(values))


def _seeds(runs: Sequence[Run], split: str) -> tuple[Seed, ...]:
    folders: dict[int, Run] = {}
    for run in runs:
        seed = run.outcome["seed"]
        if seed in folders:
            raise ValueError(f"seed {seed} of {run.name!r} twice: {folders[seed].folder} and {run.folder}")
        folders[seed] = run
    return tuple(_seed(folders[seed], split) for seed in sorted(folders))


def _seed(run: Run, split: str) -> Seed:
    result = run.outcome
    best = result["best"]
    whole = {"parameters": result["parameters_deployed"], "macs": result["macs"]}
    cost = result.get("readouts", {}).get(run.readout, whole)
    return Seed(
        seed=result["seed"],
        folder=str(run.folder),
        last_epoch=result["last"]["epoch"],
        last=run.measured(result["last"], split),
        best_epoch=best["epoch"] if best else None,
        best=run.measured(best, split) if best else None,
        train_seconds=result["train_seconds"],
        parameters_trained=result["parameters_trained"],
        parameters_deployed=cost["parameters"],
        macs=cost["macs"],
    )


def _entry(runs: Sequence[Run], split: str, seeds: tuple[Seed, ...], baseline: tuple[Seed, ...]) -> Entry:
    run = runs[0]
    by_seed = {seed.seed: seed for seed in baseline}
    pairs = [(by_seed[seed.seed], seed) for seed in seeds if seed.seed in by_seed]
    key = run.headline.name
    above = [base.last[key] - seed.last[key] for base, seed in pairs]
    gains = above if run.headline.lower_is_better else [-difference for difference in above]
    ratios = [seed.train_seconds / base.train_seconds for base, seed in pairs]
    best = [seed.best[key] for seed in seeds if seed.best is not None]
    return Entry(
        label=run.name,
        method=run.outcome["method"],
        options=dict(run.outcome["options"]),
        last=Stat.of([seed.last[key] for seed in seeds]),
        best=Stat.of(best) if best else None,
        gain=Gain.of(gains) if gains and seeds is not baseline else None,
        parameters_trained=Stat.of([seed.parameters_trained for seed in seeds]),
        parameters_deployed=Stat.of([seed.parameters_deployed for seed in seeds]),
        macs=Stat.of([seed.macs for seed in seeds]),
        train_seconds=Stat.of([seed.train_seconds for seed in seeds]),
        train_ratio=Stat.of(ratios) if ratios else None,
        readouts=tuple(read_outs(runs, split)),
        seeds=seeds,
    )


def _divergences(
    baseline: str, seeds: Mapping[str, Sequence[Seed]], diverged: Mapping[str, Mapping[int, str]]
) -> list[str]:
    notes = [
        f"{label}, seed {seed}, diverged: {message.partition(';')[0]}."
        for label, messages in diverged.items()
        for seed, message in messages.items()
    ]
    if baseline not in seeds:
        notes.append(f"{baseline} has no finished run, so there is no gain and no time ratio.")
    return notes


def _unfinished(run: Run) -> str:
    """Which run has not finished, and how it diverged, if it did."""
    diverged = f", diverged: {run.failure.partition(';')[0]}" if run.failure else ""
    return f"{run.name.removesuffix(' (unfinished)')}, in {run.folder}{diverged}"


def _notes(
    runs: Sequence[Run],
    metric: Metric,
    split: str,
    seeds: Mapping[str, Sequence[Seed]],
    diverged: Mapping[str, Mapping[int, str]],
) -> list[str]:
    notes = []
    if split == "val":
        notes.append(
            f"The data set has no test split: the {metric.title} is that on the validation split, so at the "
            "best epoch it was chosen on the images it is measured on."
        )
    numbers = {label: {seed.seed for seed in own} for label, own in seeds.items()}
    everyone = set.union(*numbers.values())
    for label, finished in numbers.items():
        if missing := everyone - finished - set(diverged.get(label, ())):
            notes.append(f"{label} has no finished run of {named('seed', missing)}.")
    unfinished = [_unfinished(run) for run in runs if run.result is None]
    if unfinished:
        notes.append(f"Not finished, hence not in the table: {'; '.join(unfinished)}.")
    done = [run for run in runs if run.result is not None]
    notes += reported_notes(done) + computed_notes(done)
    return notes + alone_notes(done) + phase_notes(done, metric) + found_notes(done) + differences(done)
