"""Means over seeds, and how sure of them one can be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Stat:
    """Mean and sample standard deviation (None for n = 1) of n values."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))


@dataclass(frozen=True)
class Gain:
    """How much better a method is than the baseline, seed by seed, averaged over the seeds that both have.

    Attributes:
        mean: of the differences in the headline metric, positive where the method is better.
        se: standard error of the mean difference; None for one pair.
        interval: 95 percent, Student's t; None for one pair, and where every pair differs by the
            same amount: a spread of zero in a few seeds gives no scale to judge the mean by.
        pairs: how many seeds both have.
    """

    mean: float
    se: float | None
    interval: tuple[float, float] | None
    pairs: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> Gain:
        stat = Stat.of(differences)
        if stat.std is None:
            return cls(stat.mean, None, None, stat.n)
        se = stat.std / stat.n**0.5
        if se < 1e-9:  # what rounding leaves of equal differences
            return cls(stat.mean, 0.0, None, stat.n)
        half = _t_quantile(stat.n - 1) * se
        return cls(stat.mean, se, (stat.mean - half, stat.mean + half), stat.n)

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def _t_quantile(freedom: int) -> float:
    from scipy.stats import t  # type: ignore[import-untyped, unused-ignore]

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
