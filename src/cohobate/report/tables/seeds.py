"""The headline metric of one method over its seeds, and of the baseline beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...config.words import count, named
from ...runs.reading import Run
from ...runs.siblings import Beside
from .stats import Gain, Stat
from .table import gain_of
from .text import NOTHING, extreme, mean_std, points, sentence

FIRST = "runs"
EPOCHS = {"last": "last epoch", "best": "best epoch"}


class Measured(NamedTuple):
    """Runs whose numbers stand in the table.

    Attributes:
        run: the one that the table is about.
        seeds: that run and those with other seeds.
        baseline: those of the baseline, trained the same way.
    """

    run: Run
    seeds: Beside
    baseline: Beside

    @property
    def columns(self) -> dict[str, tuple[str, str]]:
        """Heading -> which epoch and which split; of the splits that the run was measured on."""
        outcome = self.run.outcome
        return {
            f"{split}, {name}": (epoch, split)
            for epoch, name in EPOCHS.items()
            for split in ("val", "test")
            if outcome[epoch] and outcome[epoch].get(split)
        }


def error_rows(of: Measured) -> list[dict[str, str]]:
    """A row a seed, their mean and standard deviation if there are several, and the baseline's."""
    rows = [_row(of, f"seed {run.outcome['seed']}{_mark(of, run)}", [run]) for run in of.seeds.runs]
    if len(of.seeds.runs) > 1:
        rows.append(_row(of, f"mean ± std of {count(len(of.seeds.runs), 'seed')}", of.seeds.runs))
    if of.baseline.runs:
        seeds = named("seed", (run.outcome["seed"] for run in of.baseline.runs))
        rows.append(_row(of, f"baseline, {seeds}", of.baseline.runs))
    return rows


def _mark(of: Measured, run: Run) -> str:
    return " (these files)" if run.folder == of.run.folder else ""


def _row(of: Measured, first: str, runs: Sequence[Run]) -> dict[str, str]:
    return {FIRST: first} | {
        heading: _text([_value(run, *where) for run in runs]) for heading, where in of.columns.items()
    }


def _text(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return mean_std(Stat.of(known)) if len(known) == len(values) else NOTHING


def _value(run: Run, epoch: str, split: str) -> float | None:
    """The headline metric of the read-out; None if it was not measured then."""
    if run.outcome[epoch] is None:
        return None
    try:
        return run.measured(run.outcome[epoch], split)[run.headline.name]
    except ValueError:
        return None


def error_notes(of: Measured) -> list[str]:
    """What a reader must know of the numbers, a sentence each."""
    metric, outcome = of.run.headline, of.run.outcome
    notes = []
    if outcome["best"]:
        notes.append(
            f"The best epoch is that of the {extreme(metric)} {metric.title} on the validation split (val), "
            "so on that split it is chosen on the images that it is measured on."
        )
    if not outcome["last"].get("test"):
        notes.append(
            "The data has no test split, so nothing was measured on images that nothing is chosen on."
        )
    if len(of.seeds.runs) == 1:
        notes.append(
            "This is one seed: how much the numbers vary from seed to seed is not known, so there is no "
            "standard deviation."
        )
    notes += _left_out("Not counted among the seeds", of.seeds)
    return notes + list(_on_baseline(of))


def _on_baseline(of: Measured) -> Iterator[str]:
    if not of.baseline.runs:
        if of.run.method != "baseline":
            yield (
                "No finished baseline that was trained the same way lies beside the run, so what the method "
                "gains over plain training is not known."
            )
    elif gain := _gain(of):
        text = gain_of(gain, len(of.seeds.runs))
        yield (
            f"Gain over the baseline{points(of.run.headline)}, last epoch, {_split(of)} split, paired by "
            f"seed ± standard error [95 % interval], positive is better: {text}."
        )
    else:
        yield "The baseline has none of these seeds, so no gain can be paired by seed."
    yield from _left_out("Not counted as a baseline", of.baseline)


def _left_out(what: str, beside: Beside) -> list[str]:
    each = "; ".join(f"{name}, {why}" for name, why in beside.left_out.items())
    return [f"{sentence(what)}: {each}."] if each else []


def _split(of: Measured) -> str:
    return "test" if of.run.outcome["last"].get("test") else "val"


def _gain(of: Measured) -> Gain | None:
    base = {run.outcome["seed"]: _value(run, "last", _split(of)) for run in of.baseline.runs}
    pairs = [
        (base[run.outcome["seed"]], _value(run, "last", _split(of)))
        for run in of.seeds.runs
        if run.outcome["seed"] in base
    ]
    above = [one - other for one, other in pairs if one is not None and other is not None]
    if not above:
        return None
    better = above if of.run.headline.lower_is_better else [-each for each in above]
    return Gain.of(better)
