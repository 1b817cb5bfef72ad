"""Metrics of predictions: the name and unit of a number, and whether lower is better."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A number that says how good predictions are.

    Attributes:
        name: key of the number in records.
        title: its name in tables, figures and the progress display.
        unit: of the number; empty where it has none.
        lower_is_better: False for accuracies and the like.
    """

    name: str
    title: str
    unit: str
    lower_is_better: bool = True

    def better(self, new: float, old: float) -> bool:
        """Whether ``new`` is strictly better than ``old``; NaN is never better."""
        return new < old if self.lower_is_better else new > old


TOP1_ERROR = Metric("top1_error", "top-1 error", "%")
MIOU = Metric("miou", "mIoU", "%", lower_is_better=False)
