"""What a tracker is told, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class About(NamedTuple):
    """A run, as it begins.

    Attributes:
        name: the method with its changed options, and the seed.
        group: the same without the seed.
        folder: of the run.
        options: those that decide its weights, with the method's name; the others may change when an
            interrupted run goes on.
    """

    name: str
    group: str
    folder: Path
    options: Mapping[str, Any]


class Epoch(NamedTuple):
    """An epoch that has ended.

    Attributes:
        step: counted from 1 over all phases.
        phase: name of its phase.
        values: name -> number.
    """

    step: int
    phase: str
    values: Mapping[str, float]


class Tracker(Protocol):
    """Writes what it is told somewhere; every exception that it raises is caught by its caller."""

    def begin(self, about: About, epochs: Sequence[Epoch]) -> str | None:
        """Begin, or go on with a run of which these epochs stand.

        Afterwards exactly these are logged: one that is missing is added, what lies behind them is gone.

        Returns:
            What the user is to be told of it, if anything.
        """

    def epoch(self, epoch: Epoch) -> None:
        """Log one more epoch."""

    def end(self, epochs: int, result: Mapping[str, float]) -> None:
        """The run has finished, after so many epochs in all; log its result."""

    def stop(self, *, failed: bool) -> None:
        """The run has stopped before its end: as it was asked to, or by an error."""
