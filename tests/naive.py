"""What several tests compute a number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def softmax(row: Sequence[float], tau: float = 1.0) -> list[float]:
    exponentials = [math.exp(z / tau) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def kl(target: Sequence[float], row: Sequence[float], tau: float) -> float:
    """KL(target || row) of one image's logits, softened."""
    pairs = zip(softmax(target, tau), softmax(row, tau), strict=True)
    return sum(p * math.log(p / q) for p, q in pairs)
