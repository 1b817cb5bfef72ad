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
