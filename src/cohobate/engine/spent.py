"""What a plan takes: parameters, seconds and images, phase by phase."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn


class Spent(NamedTuple):
    """What a phase took.

    Attributes:
        phase: its name.
        epochs: finished ones.
        of: epochs that it was to take; more than ``epochs`` if it stopped early.
        parameters_trained: of its method.
        train_seconds: without measuring.
        image_passes: images shown, over all epochs.
    """

    phase: str
    epochs: int
    of: int
    parameters_trained: int
    train_seconds: float
    image_passes: int

    @classmethod
    def by(cls, phase: str, of: int, method: nn.Module, history: Sequence[Mapping[str, Any]]) -> Spent:
        """By a phase that has ended, from the records of its epochs."""
        trained = sum(p.numel() for p in method.parameters() if p.requires_grad)
        seconds = sum(record["seconds"] for record in history)
        return cls(phase, len(history), of, trained, seconds, sum(record["images"] for record in history))


class Tally:
    """Counts the parameters that a plan trains, each once in however many phases it is trained."""

    def __init__(self) -> None:
        # Weak, since a plan may let go of a network; its number may then be that of another tensor.
        self._known: dict[int, weakref.ref[nn.Parameter]] = {}
        self.total = 0

    def add(self, method: nn.Module) -> None:
        """Count what a phase trains."""
        for parameter in method.parameters():
            known = self._known.get(id(parameter))
            if parameter.requires_grad and (known is None or known() is not parameter):
                self._known[id(parameter)] = weakref.ref(parameter)
                self.total += parameter.numel()
