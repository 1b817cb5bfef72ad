"""The logits that ``cohobate evaluate`` measures, as it computes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cohobate.commands.evaluate import evaluate_run
from cohobate.engine.measures import classification


def logits_of_evaluate(path: Path, **how: Any) -> tuple[Tensor, dict[str, Any]]:
    """Its logits, (N, K), and its measures."""
    seen: list[Tensor] = []
    original = classification.predictions

    def recorded(*arguments: Any) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        for y, answers in original(*arguments):
            seen.append(answers["network"].float().cpu())
            yield y, answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "predictions", recorded)
        measured, _, _ = evaluate_run(path, **how)
    return torch.cat(seen), measured
