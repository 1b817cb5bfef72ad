"""What the benchmarks share: times of two sides in turn, and what they say of the ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from scipy.stats import binom


def seconds(run: Callable[[], None], device: torch.device) -> float:
    """Of one call, until the device has finished it."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Median and the 95 percent interval of it, from the order statistics."""
    ordered, n = sorted(values), len(values)
    k = int(binom.ppf(0.025, n, 0.5))
    return statistics.median(ordered), ordered[max(0, k - 1)], ordered[min(n - 1, n - k)]


def compare(
    title: str, one: Callable[[], None], two: Callable[[], None], pairs: int, device: torch.device
) -> None:
    """Print the first over the second: medians, the median ratio and its interval."""
    for side in (one, two, one, two):
        side()
    times = []
    for i in range(pairs):
        # Which one goes first alternates: neither always meets the other's warm caches.
        order = (one, two) if i % 2 == 0 else (two, one)
        took = {side: seconds(side, device) for side in order}
        times.append((took[one], took[two]))
    middle, low, high = median_interval([a / b for a, b in times])
    a, b = (1000 * statistics.median(side) for side in zip(*times, strict=True))
    print(f"{title:58} {a:8.1f} / {b:8.1f} ms   ratio {middle:5.3f} [{low:.3f}, {high:.3f}]", flush=True)
