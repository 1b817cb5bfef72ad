"""What several tests compute a number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def softmax(row: Sequence[float], tau: float = 1.0) -> list[float]:
    exponentials = [math.exp(z / tau) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def kl(target: Sequence[float], row: Sequence[float], tau: float) -> float:
    """KL(target || row) of one image's logits, softened."""
    pairs = zip(softmax(target, tau), softmax(row, tau), strict=True)
    return sum(p * math.log(p / q) for p, q in pairs)


def huber(a: Tensor, b: Tensor) -> Tensor:
    gap = (a - b).abs()
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def norm(x: Tensor) -> Tensor:
    return (x**2).sum().sqrt() if x.any() else x.sum()


def distances(x: Tensor) -> list[Tensor]:
    """psi_D of all pairs."""
    all_pairs = [norm(a - b) for a in x for b in x]
    positive = [d for d in all_pairs if d > 0]
    return [d * len(positive) / sum(positive) for d in all_pairs]


def cosines(x: Tensor) -> list[Tensor]:
    """psi_A of all triples."""
    found = []
    for j, corner in enumerate(x):
        for i, a in enumerate(x):
            for k, b in enumerate(x):
                u, v = a - corner, b - corner
                none = i == j or k == j or not u.any() or not v.any()
                found.append(x.new_zeros(()) if none else (u * v).sum() / (norm(u) * norm(v)))
    return found


def rkd(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """The losses over distances and over angles of RKD, loops over pairs and triples."""
    losses = []
    for potential in (distances, cosines):
        pairs = zip(potential(student), potential(teacher), strict=True)
        terms = [huber(a, b) for a, b in pairs]
        losses.append(sum(terms) / len(terms))
    return losses[0], losses[1]
