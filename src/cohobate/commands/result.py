"""The result of a finished run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..core import TOP1_ERROR, Metric
from ..runs.layout import RunFolder


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: of the run; gone if none was asked for.
        facts: content of ``result.json``: sizes, costs, measurements ``last`` and ``best``.
        history: a record an epoch.
        network: the deployed network (last epoch), images -> logits; None if nothing was trained
            because the run had already finished.
    """

    folder: Path
    facts: dict[str, Any]
    history: list[dict[str, Any]]
    network: nn.Module | None

    def __fspath__(self) -> str:
        """Its folder, so that it may be given where a run's folder is asked for."""
        return str(self.folder)

    @property
    def metric(self) -> Metric:
        """The headline metric: top-1 error of a classifier, mIoU of a network of segmentation."""
        return metric_of(self.facts)

    @property
    def value(self) -> float:
        """The headline metric of the last epoch, percent, see :func:`headline`."""
        return headline(self.facts)[1]

    @property
    def error(self) -> float:
        """The top-1 error of the last epoch, percent, see :func:`headline`.

        Raises:
            AttributeError: the headline metric is another: a network of segmentation has none.
        """
        if self.metric.name != TOP1_ERROR.name:
            raise AttributeError(
                f"a run that is measured by its {self.metric.title} has no top-1 error; `value` is its "
                f"{self.metric.title}"
            )
        return self.value


def metric_of(facts: Mapping[str, Any]) -> Metric:
    """The headline metric of a finished run.

    Args:
        facts: of ``result.json``; older files record none, which was the top-1 error.
    """
    return Metric(**facts.get("headline", TOP1_ERROR._asdict()))


def headline(facts: Mapping[str, Any]) -> tuple[Literal["test", "val"], float]:
    """The split that a finished run is measured on, test where there is one, and its headline metric there.

    Args:
        facts: of ``result.json``.
    """
    split: Literal["test", "val"] = "test" if facts["last"]["test"] else "val"
    measured = (facts["last"][split] or {}).get(facts["predictor"], {})
    return split, float(measured.get(metric_of(facts).name, math.nan))


def read_result(folder: RunFolder) -> Result:
    """A run that has finished, from its folder; its network is not built."""
    lines = folder.metrics.read_text().splitlines()
    facts = json.loads(folder.result.read_text())
    return Result(folder.path, facts, [json.loads(line) for line in lines], None)
