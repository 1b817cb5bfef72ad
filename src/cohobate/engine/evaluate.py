"""How good predictions are: top-1, top-5, likelihood, calibration, each class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..core import IGNORED, Loader
from . import distributed

BINS = 15
Readouts = Callable[[Tensor], dict[str, Tensor]]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradient inside; every submodule gets its own mode back."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes.items():
            m.training = mode


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def evaluate(
    readouts: Readouts, loader: Loader, device: torch.device, precision: str = "fp32"
) -> dict[str, dict[str, Any]]:
    """Measure every read-out over a loader.

    Returns:
        name -> ``top1_error``, ``top5_error`` and ``ece`` (percent; expected calibration error over
        15 equal bins, Guo et al. 2017), ``nll`` (nats), ``images``, ``class_error`` (percent each).
    """
    sums: dict[str, Tensor] = {}
    for batch in loader.epoch(0):
        with autocast(device, precision):
            answers = readouts(batch.x)
        for name, logits in answers.items():
            counted = _count(logits, batch.y)
            sums[name] = sums[name] + counted if name in sums else counted
    return {name: _measures(distributed.total(value)) for name, value in sums.items()}


def _count(logits: Tensor, y: Tensor) -> Tensor:
    """Everything that is summed, in one float64 vector: it crosses processes in one call."""
    logits = logits.double().movedim(1, -1).flatten(0, -2)
    y = y.flatten()
    logits, y = logits[y != IGNORED], y[y != IGNORED]
    classes = logits.shape[1]
    log_p = logits.log_softmax(1)
    top = logits.topk(min(5, classes), 1).indices
    hits = (top == y[:, None]).double()
    confidence = log_p.max(1).values.exp()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    zeros = torch.zeros(BINS, dtype=torch.float64, device=y.device)
    first = hits[:, 0]
    return torch.cat([
        torch.stack([
            torch.tensor(float(len(y)), dtype=torch.float64, device=y.device),
            first.sum(),
            hits.sum(),
            -log_p.gather(1, y[:, None]).sum(),
        ]),
        zeros.index_add(0, bins, confidence - first),
        torch.bincount(y, minlength=classes).double(),
        torch.bincount(y, weights=first, minlength=classes),
    ])  # fmt: skip


def _measures(sums: Tensor) -> dict[str, Any]:
    n, first, five, nll = sums[:4].tolist()
    gaps, counts = sums[4 : 4 + BINS], sums[4 + BINS :].view(2, -1)
    per_class = 100 * (1 - counts[1] / counts[0])
    return {
        "top1_error": 100 * (1 - first / n),
        "top5_error": 100 * (1 - five / n),
        "nll": nll / n,
        "ece": 100 * gaps.abs().sum().item() / n,
        "images": int(n),
        "class_error": [None if e != e else e for e in per_class.tolist()],
    }
