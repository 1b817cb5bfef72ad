"""The published set-ups of ``--setup``; options on the command line take precedence.

Their numbers stand in ``setups.yaml`` beside this file, each with the place that it is from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..config.grammar import parse
from ..config.objects import nearest

FILE = Path(__file__).with_name("setups.yaml")
EVERY = "*"
"""Stands for every method."""


@dataclass(frozen=True)
class Setup:
    """Options of a published experiment.

    Attributes:
        source: paper and table, and what was taken from elsewhere.
        options: of every method's run.
        methods: method, or term of a sum -> options of its own.
        following: the same as (method or :data:`EVERY`, options that it must have, options that follow
            from these), in the order of the file.
    """

    source: str
    options: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    following: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = ()

    def of(self, method: str) -> dict[str, Any]:
        """All options of a method's run."""
        return {**self.options, **self.own(method)}

    def own(self, method: str) -> dict[str, Any]:
        """The method's own options; those of a sum of terms bear the term's name."""
        if "+" not in method:
            return dict(self.methods.get(method, {}))
        terms = [part.strip() for part in method.split("+")]
        return {f"{term}_{k}": v for term in terms for k, v in self.methods.get(term, {}).items()}

    def follows(self, method: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Options that follow from others: beta from the features, for one; those that were given stay.

        Args:
            method: by name.
            chosen: all options of its run; None where neither the user nor the set-up gave a value.
        """
        return {
            option: value
            for name, wanted, options in self.following
            if name in (EVERY, method) and all(chosen.get(key) == value for key, value in wanted.items())
            for option, value in options.items()
            if chosen.get(option) is None
        }

    @classmethod
    def of_file(cls, entry: Mapping[str, Any]) -> Setup:
        """One set-up as the file has it."""
        parsed = [(*parse(spec), options) for spec, options in entry["methods"].items()]
        return cls(
            entry["source"],
            _plain(entry["options"]),
            {name: options for name, wanted, options in parsed if not wanted},
            tuple(each for each in parsed if each[1]),
        )


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their names: lists are tuples, and epochs at which the rate falls are shares of the run."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    values["milestones"] = tuple(epoch / values["epochs"] for epoch in values.pop("falls"))
    return values


def spec(method: str, wanted: Mapping[str, Any]) -> str:
    """As the file writes it: ``frskd:features=at``."""
    return f"{method}:{','.join(f'{option}={value}' for option, value in wanted.items())}"


@cache
def setups() -> Mapping[str, Setup]:
    """Every set-up by its name."""
    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))["setups"]
    return {name: Setup.of_file(entry) for name, entry in entries.items()}


def find_setup(name: str) -> Setup:
    """A set-up by name.

    Raises:
        ValueError: an unknown name, with the nearest.
    """
    known = setups()
    if name not in known:
        near = nearest(name, known)
        raise ValueError(f"unknown set-up {name!r}; the nearest are {near} (`cohobate list setups`)")
    return known[name]
