"""What a plan found out about its networks: why it ended, their energy on D_v, the threshold of a cascade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...config.words import count, named
from ...runs.reading import Run
from .text import sentence

SPLITS = {"train": "drawn from the training split", "val": "the validation split"}
"""Where the images of D_v are from."""

IN_WORDS = ("stopped", "reason", "energy", "energy_images", "energy_split", "threshold")
"""Entries that :func:`found_lines` puts into words of their own."""


def found_lines(result: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that the plan of a run found out; empty for a plan that looks for nothing."""
    found = _found(result)
    lines = []
    if "reason" in found:
        lines.append(sentence(f"{_ended(found)}: {_reason(found)}."))
    if energy := found.get("energy"):
        each = ", ".join(_energies(energy))
        lines.append(f"Energy on D_v (mean of the summed squares of the probabilities): {each}.")
    if "energy_images" in found:
        split = str(found.get("energy_split", ""))
        where = SPLITS.get(split, split)
        lines.append(f"D_v: {count(found['energy_images'], 'image')}{f', {where}' if where else ''}.")
    if found.get("threshold") is not None:
        threshold = f"{found['threshold']:.4f}"
        lines.append(f"Threshold of adaptive inference, the energy of the whole sum on D_v: {threshold}.")
    others = {key: value for key, value in found.items() if key not in IN_WORDS}
    return lines + [sentence(f"{key.replace('_', ' ')}: {value}.") for key, value in others.items()]


def found_notes(runs: Sequence[Run]) -> list[str]:
    """A sentence for each method whose plan decides when to end: after how much in which seed, and why."""
    methods: dict[str, dict[tuple[str, str], list[int]]] = {}
    for run in sorted(runs, key=lambda run: int(run.outcome["seed"])):
        found = _found(run.outcome)
        if "reason" in found:
            ends = methods.setdefault(run.name, {})
            ends.setdefault((_ended(found), _reason(found)), []).append(run.outcome["seed"])
    return [f"{label}: {'; '.join(_in_seeds(ends))}." for label, ends in methods.items()]


def _in_seeds(ends: Mapping[tuple[str, str], Sequence[int]]) -> Iterator[str]:
    """the plan ended with 2 res-students (seeds 0, 1): why"""
    for (ended, reason), seeds in ends.items():
        yield f"{ended} ({named('seed', seeds)}): {reason}"


def _found(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the plan found out; older results record nothing."""
    recorded: Mapping[str, Any] = result.get("found", {})
    return recorded


def _ended(found: Mapping[str, Any]) -> str:
    """the plan ended with 2 res-students"""
    sums = [name for name in found.get("energy", {}) if name.startswith("S_")]
    return f"the plan ended with {count(len(sums) - 1, 'res-student')}" if sums else "the plan ended"


def _reason(found: Mapping[str, Any]) -> str:
    return str(found["reason"]).rstrip(".")


def _energies(energy: Mapping[str, float]) -> Iterator[str]:
    """T 0.9000, S_0 0.8100 (90.0 % of T's)"""
    teacher = energy.get("T")
    for name, value in energy.items():
        share = "" if name == "T" or not teacher else f" ({100 * value / teacher:.1f} % of T's)"
        yield f"{name} {value:.4f}{share}"
