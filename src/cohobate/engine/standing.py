"""The progress of a phase, and the check that its losses are finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import NonFiniteLoss


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

    def next_epoch(self) -> None:
        """Go to the next epoch: step, seconds and totals start from zero."""
        self.epoch, self.step, self.seconds, self.totals = self.epoch + 1, 0, 0.0, {}


def require_finite(losses: Mapping[str, Tensor], standing: Standing, steps: int, last: Path) -> None:
    """Check that every loss term is finite.

    Args:
        losses: loss term -> its value, ().
        standing: progress of the phase.
        steps: updates of an epoch.
        last: file of the newest checkpoint, which need not exist.

    Raises:
        NonFiniteLoss: a term is NaN or infinite.
    """
    for name, loss in losses.items():
        if not torch.isfinite(loss):
            saved = f"the last good state is {last}" if last.exists() else "no good state was saved yet"
            raise NonFiniteLoss(
                f"the loss term {name!r} of phase {standing.name!r} became {loss.item()} in epoch "
                f"{standing.epoch + 1}, at or before step {min(standing.step + 1, steps)}"
                f"{_largest_before(standing)}; {saved}; lower lr or the weight of a term, or set clip"
            )


def _largest_before(standing: Standing) -> str:
    """The term that was largest while all were finite: it often tells more than the term that failed."""
    means = standing.means(max(1, standing.step))
    if not means or not all(map(math.isfinite, means.values())):
        means = dict(standing.history[-1]["losses"]) if standing.history else {}
    if not means:
        return ""
    name = max(means, key=lambda term: abs(means[term]))
    return f" (before it the largest term was {name!r}, {means[name]:.3g} on average)"
