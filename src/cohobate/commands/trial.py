"""The trial step of a method before its run: forward and backward on one batch, and its read-outs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..config.groups import Settings
from ..core import Batch, Method
from ..engine.evaluate import autocast
from ..engine.phase import in_layout


def trial_step(method: Method, batch: Batch, settings: Settings, device: torch.device) -> None:
    """Run a method once on a batch, forward and backward, and its read-outs.

    Raises:
        ValueError: see :func:`total`; or whatever the method raises.
    """
    # As a step has it: a network that a CPU cannot train in channels_last memory crashes on such images.
    batch = in_layout(batch, settings)._replace(progress=torch.tensor(0.5, device=device))
    method.train()
    with autocast(device, settings.precision):
        for turn in range(method.turns):
            total(method, method(batch, turn)).backward()
        with torch.no_grad():
            method.eval().readouts(batch.x[:2])
    method.predictors()


def total(method: Method, losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of the loss terms.

    Raises:
        ValueError: there is none, one is no single number, or no trained parameter affects them.
    """
    name = type(method).__name__
    if not losses:
        raise ValueError(f"{name} gives no loss: forward(batch, turn) returns loss terms by name")
    for term, loss in losses.items():
        if loss.dim():
            raise ValueError(
                f"the loss term {term!r} of {name} is of shape {tuple(loss.shape)}; give its mean"
            )
    summed: Tensor = sum(losses.values())  # type: ignore[assignment]
    if not summed.requires_grad:
        raise ValueError(f"no trained parameter affects the loss of {name}: {', '.join(losses)}")
    return summed
