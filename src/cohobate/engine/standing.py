"""The progress of a phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Standing:
    """The progress of a phase.

    Attributes:
        name: of the phase.
        epoch: finished epochs.
        step: finished updates of the current epoch.
        seconds: of training in the current epoch.
        totals: loss term -> its sum over the micro-batches of the current epoch, () float64.
        history: a record of each finished epoch.
        best: ``epoch`` and ``val`` of the best epoch on the validation split, None before the first.
    """

    name: str
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    totals: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the loss terms of a micro-batch to the totals."""
        for name, loss in losses.items():
            added = loss.detach().double()
            self.totals[name] = self.totals[name] + added if name in self.totals else added

    def means(self, count: int) -> dict[str, float]:
        """Each total divided by ``count``."""
        return {name: total.item() / count for name, total in self.totals.items()}

    def record(self, lr: float, losses: Mapping[str, float], images: int) -> dict[str, Any]:
        """The record of the current epoch, before anything is measured.

        Args:
            lr: learning rate of its last update.
            losses: mean of each term.
            images: shown in it.
        """
        return {
            "phase": self.name,
            "epoch": self.epoch + 1,
            "lr": lr,
            "losses": losses,
            "seconds": self.seconds,
            "images": images,
            "images_per_s": images / self.seconds,
        }

    @property
    def idle(self) -> int:
        """Finished epochs since the best one; 0 before the first, and without a validation split."""
        return 0 if self.best is None else self.epoch - int(self.best["epoch"])

    def next_epoch(self) -> None:
        """Go to the next epoch: step, seconds and totals start from zero."""
        self.epoch, self.step, self.seconds, self.totals = self.epoch + 1, 0, 0.0, {}
