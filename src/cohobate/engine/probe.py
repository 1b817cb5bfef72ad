"""Which precision and layout are fastest here: a few steps of each, on a copy."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import NamedTuple

import torch

from ..config.groups import Settings
from ..core import Batch, Method
from .evaluate import autocast
from .phase import corrupting, place

CANDIDATES = (("fp32", "contiguous"), ("fp32", "channels_last"), ("bf16", "channels_last"))

SLOW = 0.3
"""Seconds of a step that :func:`quick_look` does not repeat."""


class Choice(NamedTuple):
    """The fastest precision and layout, and the seconds of a step with each that was tried."""

    precision: str
    layout: str
    seconds: dict[str, float]


def step_seconds(method: Method, batch: Batch, settings: Settings, rounds: int = 3) -> float:
    """Seconds of one forward and backward pass of a copy, the fastest of ``rounds``."""
    copy = deepcopy(method).train()
    device = batch.x.device
    settings = place(copy, device, settings)
    layout = torch.channels_last if settings.layout == "channels_last" else torch.contiguous_format
    batch = batch._replace(
        views=tuple(v.contiguous(memory_format=layout) for v in batch.views),
        progress=torch.zeros((), device=device),
    )
    best = float("inf")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for _ in range(1 + rounds):
            start = time.perf_counter()
            for turn in range(copy.turns):
                with autocast(device, settings.precision):
                    losses = copy(batch, turn)
                sum(losses.values()).backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
    return best


def choose_precision(method: Method, batch: Batch, settings: Settings) -> Choice:
    """The fastest of single precision, the same with channels last, and bfloat16."""
    seconds = {}
    possible = ("contiguous",) if corrupting(method, batch.x.device) else ("contiguous", "channels_last")
    for precision, layout in CANDIDATES:
        if layout not in possible:
            layout = "contiguous"
        tried = settings.model_copy(update={"precision": precision, "layout": layout})
        seconds[f"{precision} {layout}"] = step_seconds(method, batch, tried)
    precision, layout = min(seconds, key=seconds.__getitem__).split()
    return Choice(precision, layout, seconds)


def quick_look(method: Method, batch: Batch, settings: Settings) -> dict[str, float]:
    """Seconds of a step of a small method in each precision and layout; a slow one is measured once."""
    seconds = {}
    for precision, layout in CANDIDATES:
        tried = settings.model_copy(update={"precision": precision, "layout": layout})
        first = step_seconds(method, batch, tried, rounds=0)
        again = first if first > SLOW else step_seconds(method, batch, tried)
        seconds[f"{precision} {layout}"] = min(first, again)
    return seconds
