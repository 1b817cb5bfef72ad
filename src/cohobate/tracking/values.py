"""Names and numbers for trackers, from the records of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .tracker import Epoch

RESULT = ("parameters_trained", "parameters_deployed", "macs", "train_seconds", "image_passes")
"""Numbers of a result that are no measurements."""


def epochs_of(records: Sequence[Mapping[str, Any]]) -> list[Epoch]:
    """The epochs of all phases, numbered from 1.

    The names of their values: ``phase`` (numbered from 1), ``epoch`` (of the phase), ``lr``, ``seconds``,
    ``images``, ``images_per_s``, ``loss/TERM``, and ``SPLIT/READOUT/MEASURE``; measures that are no single
    number, such as those of each class, are left out.
    """
    phases = list(dict.fromkeys(str(record["phase"]) for record in records))
    return [_epoch(step, phases, record) for step, record in enumerate(records, 1)]


def _epoch(step: int, phases: Sequence[str], record: Mapping[str, Any]) -> Epoch:
    name = str(record["phase"])
    named = {"loss" if key == "losses" else key: value for key, value in record.items()}
    return Epoch(step, name, {"phase": float(phases.index(name) + 1), **numbers(named)})


def result_of(facts: Mapping[str, Any]) -> dict[str, float]:
    """The result: ``last/SPLIT/READOUT/MEASURE``, ``best/...``, the epochs of both, sizes and costs."""
    return numbers({key: facts[key] for key in ("last", "best", *RESULT)})


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Every number in nested mappings, under the keys that lead to it: ``val/student/top1_error``."""
    return dict(_numbers(values))


def _numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        name = before + str(key).replace("/", "_")
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)
