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


def _difference(key: str, recorded: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence if the value differs, else nothing."""
    values = dict.fromkeys(str(each.get(key)) for each in recorded)
    if len(values) < 2:
        return []
    return [f"Not the same in every run: {key.replace('_', ' ')} ({', '.join(values)})."]
