"""Measures against loops and against scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import Tensor

from cohobate.core import Batch
from cohobate.engine.evaluate import evaluate


class Two:
    """A loader of two batches, the second one short; x carries the logits."""

    def __init__(self, logits: Tensor, y: Tensor) -> None:
        self.batches = [Batch((logits[:30],), y[:30]), Batch((logits[30:],), y[30:])]

    def __len__(self) -> int:
        return 2

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.batches[start:])


def naive_ece(p: Tensor, y: Tensor) -> float:
    confidence, guess = p.max(1)
    total = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            accuracy = (guess[inside] == y[inside]).double().mean()
            total += float(inside.double().mean() * (accuracy - confidence[inside].mean()).abs())
    return 100 * total


def test_measures() -> None:
    logits, y = 2 * torch.randn(50, 8), torch.arange(50) % 8
    found = evaluate(lambda x: {"a": x, "b": -x}, Two(logits, y), torch.device("cpu"))
    assert found.keys() == {"a", "b"}
    for sign, name in ((1, "a"), (-1, "b")):
        p = (sign * logits).double().softmax(1)
        errors = [100 * (1 - top_k_accuracy_score(y, p, k=k, labels=range(8))) for k in (1, 5)]
        assert found[name]["top1_error"] == pytest.approx(errors[0])
        assert found[name]["top5_error"] == pytest.approx(errors[1])
        assert found[name]["nll"] == pytest.approx(log_loss(y, p, labels=range(8)))
        assert found[name]["ece"] == pytest.approx(naive_ece(p, y))
        assert found[name]["images"] == 50
        wrong = p.argmax(1) != y
        expected = [100 * wrong[y == k].double().mean().item() for k in range(8)]
        assert found[name]["class_error"] == pytest.approx(expected)


def test_a_class_without_images_has_no_error() -> None:
    logits, y = torch.randn(40, 3), torch.arange(40) % 2
    found = evaluate(lambda x: {"a": x}, Two(logits, y), torch.device("cpu"))["a"]
    assert found["class_error"][2] is None
    assert found["top5_error"] == 0


def test_dense_predictions_skip_ignored_positions() -> None:
    logits, y = torch.randn(31, 3, 2, 2), torch.randint(3, (31, 2, 2))
    y[:, 0, 0] = -100
    found = evaluate(lambda x: {"a": x}, Two(logits, y), torch.device("cpu"))["a"]
    kept = y != -100
    wrong = (logits.argmax(1) != y)[kept]
    assert found["images"] == 93
    assert found["top1_error"] == pytest.approx(100 * wrong.double().mean().item())
