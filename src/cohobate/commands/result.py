"""What a finished run has come to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..runs.layout import RunFolder


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: of the run; gone if none was asked for.
        facts: what ``result.json`` holds: sizes, costs, measurements ``last`` and ``best``.
        history: a record an epoch.
        network: the deployed network (last epoch), images -> logits; None if nothing was trained
            because the run had already finished.
    """

    folder: Path
    facts: dict[str, Any]
    history: list[dict[str, Any]]
    network: nn.Module | None

    @property
    def error(self) -> float:
        """Top-1 error of the last epoch in percent: of the test split, else of the validation split."""
        measured = self.facts["last"]["test"] or self.facts["last"]["val"]
        return float(measured[self.facts["predictor"]]["top1_error"])


def read_result(folder: RunFolder) -> Result:
    """A run that has finished, from its folder; its network is not built."""
    lines = folder.metrics.read_text().splitlines()
    facts = json.loads(folder.result.read_text())
    return Result(folder.path, facts, [json.loads(line) for line in lines], None)
