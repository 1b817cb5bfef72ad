"""Numbers in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def count(n: float, noun: str) -> str:
    """A number and its noun: 1 epoch, 2 epochs, 1,280 images, 10 classes, 0.5 minutes."""
    number = f"{n:,}" if isinstance(n, int) else f"{n:g}"
    return f"{number} {noun if n == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """epochs, classes"""
    return f"{noun}{'es' if noun.endswith('s') else 's'}"


def named(noun: str, numbers: Iterable[int]) -> str:
    """The noun and which: seed 0, seeds 0, 1, 2."""
    each = sorted(set(numbers))
    return f"{noun if len(each) == 1 else plural(noun)} {', '.join(map(str, each))}"
