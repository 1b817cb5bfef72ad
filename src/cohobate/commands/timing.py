"""Times of several networks on the same images, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import median, quantiles
from typing import NamedTuple

import torch
from torch import Tensor

ROUNDS = (3, 51)
"""How many rounds there are, at least and at most; an odd number, which has a middle."""
SECONDS = 20.0
"""That all rounds together take about, where that many rounds are allowed."""


class Times(NamedTuple):
    """What networks take.

    Attributes:
        milliseconds: name -> mean time of an image, the median over the rounds.
        quartiles: name -> the first and the third quartile of that time over the rounds: half of them lie
            between.
        rounds: how many there were.
    """

    milliseconds: dict[str, float]
    quartiles: dict[str, tuple[float, float]]
    rounds: int


def times(
    networks: Mapping[str, Callable[[Tensor], object]],
    batches: Sequence[Tensor],
    within: Callable[[], AbstractContextManager[object]],
    *,
    seconds: float = SECONDS,
) -> Times:
    """The time of an image in each network: in every round, each of them takes all batches in turn.

    So that what slows the machine down for a while slows all of them. A round before the others warms up, and
    says how many rounds there can be.

    Args:
        networks: name -> images to logits, ready to be measured.
        batches: (B, C, H, W) each, on the device.
        within: a context in which they run: their precision.
        seconds: that the rounds shall take together.
    """
    images = sum(len(batch) for batch in batches)
    names = list(networks)

    def passed(name: str) -> float:
        _wait(batches[0])
        start = time.perf_counter()
        with torch.no_grad(), within():
            for batch in batches:
                networks[name](batch)
        _wait(batches[0])
        return time.perf_counter() - start

    warming = sum(map(passed, names))
    least, most = ROUNDS
    rounds = min(most, max(least, int(seconds / warming) | 1))
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        # From another network on in each round: none always follows the same one.
        for i in range(len(names)):
            name = names[(i + number) % len(names)]
            taken[name].append(passed(name))
    each = {name: [1000 * second / images for second in seconds] for name, seconds in taken.items()}
    return Times(
        {name: median(numbers) for name, numbers in each.items()},
        {name: _quartiles(numbers) for name, numbers in each.items()},
        rounds,
    )


def _quartiles(numbers: Sequence[float]) -> tuple[float, float]:
    if len(numbers) == 1:
        return numbers[0], numbers[0]
    first, _, third = quantiles(numbers, n=4, method="inclusive")
    return first, third


def _wait(images: Tensor) -> None:
    """Until the device has finished."""
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
