"""What differs between runs that are compared, besides what the comparison is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...config.groups import Bookkeeping, Teacher, Training
from ...runs.reading import Run

EACH_ITS_OWN = frozenset({"command", "started"})
"""Provenance that no two runs share."""


def differences(runs: Sequence[Run]) -> list[str]:
    """A sentence for each option, then for each fact of the provenance, that is not the same in all runs.

    Left out are the method, its own options and the seed, which are what is compared, and bookkeeping, which
    changes no weight. Options about a teacher are compared among the runs that have one.
    """
    defaults = Training.model_construct().model_dump(mode="json", warnings=False)
    # A run written before an option existed was trained as with what is now its default.
    configs = [defaults | run.config for run in runs]
    taught = [config for config in configs if config["teacher"]]
    facts = [run.circumstances for run in runs]
    sentences = []
    for option in Training.model_fields:
        if option != "seed" and option not in Bookkeeping.model_fields:
            sentences += _difference(option, taught if option in Teacher.model_fields else configs)
    for fact in dict.fromkeys(key for each in facts for key in each):
        if fact not in EACH_ITS_OWN:
            # What older runs did not record yet is no difference.
            sentences += _difference(fact, [each for each in facts if fact in each])
    return sentences


def computed_notes(runs: Sequence[Run]) -> list[str]:
    """A sentence for each option that a method computed because it was not given: CD's gamma, for one.

    A comparison computes it once, with the first seed, and gives it to the others.
    """
    values: dict[tuple[str, str], dict[int, Any]] = {}
    for run in runs:
        for option in dict.fromkeys(key for each in runs if each.name == run.name for key in _computed(each)):
            value = _computed(run).get(option, run.outcome["options"].get(option))
            values.setdefault((run.name, option), {})[run.outcome["seed"]] = value
    return [_said(method, option, by_seed) for (method, option), by_seed in values.items()]


def _computed(run: Run) -> Mapping[str, Any]:
    """Option -> value that the method computed; older results record none."""
    recorded: Mapping[str, Any] = run.outcome.get("computed", {})
    return recorded


def _said(method: str, option: str, by_seed: Mapping[int, Any]) -> str:
    if len(set(by_seed.values())) == 1:
        value = shortly(next(iter(by_seed.values())))
        return f"{method}: {option} {value}, computed from the first seed's initial weights."
    each = ", ".join(f"{shortly(value)} (seed {seed})" for seed, value in by_seed.items())
    return f"{method}: {option} is not the same for every seed: {each}."


def shortly(value: Any) -> str:
    """A number with three digits; "not recorded" for None."""
    return "not recorded" if value is None else f"{value:.3g}"


def _difference(key: str, recorded: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence if the value differs, else nothing."""
    values = dict.fromkeys(str(each.get(key)) for each in recorded)
    if len(values) < 2:
        return []
    return [f"Not the same in every run: {key.replace('_', ' ')} ({', '.join(values)})."]
