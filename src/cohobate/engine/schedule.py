"""The learning rate over a run, as a share of its highest."""

from __future__ import annotations

import math

from ..config.groups import Settings


def factor(settings: Settings, progress: float) -> float:
    """Learning rate as a share of its highest, at ``progress`` in [0, 1] of the run."""
    if progress < settings.warmup:
        return progress / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "step":
        return float(settings.step_factor ** sum(progress >= m for m in settings.milestones))
    remaining = 1 - (progress - settings.warmup) / (1 - settings.warmup)
    if settings.schedule == "cosine":
        shape = 0.5 * (1 - math.cos(math.pi * remaining))
    else:
        shape = remaining**settings.power
    return settings.final + (1 - settings.final) * shape
