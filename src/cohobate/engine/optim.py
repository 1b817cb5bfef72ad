"""Optimizers over a method's groups, and the moving average of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ..config.groups import Settings
from ..core import Method


def make_optimizers(
    method: Method, settings: Settings, groups: Mapping[str, Mapping[str, Any]]
) -> list[Optimizer]:
    """One optimizer for each kind in use; ``groups`` overrides settings for a named group.

    Raises:
        ValueError: an override names a group that the method does not have.
    """
    owned = method.groups()
    for name in groups:
        if name not in owned:
            raise ValueError(f"no parameter group {name!r}; the method has {', '.join(owned)}")
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, parameters in owned.items():
        own = type(settings).model_validate({**settings.model_dump(), **groups.get(name, {})})
        kinds.setdefault(own.optimizer, []).append({"params": parameters, **_options(own)})
    fused = next(method.parameters()).device.type == "cuda"
    classes: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}
    return [classes[kind](members, fused=fused) for kind, members in kinds.items()]  # type: ignore[call-arg]


def _options(settings: Settings) -> dict[str, Any]:
    options = {"lr": settings.lr, "initial_lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    return options


def clip(method: nn.Module, settings: Settings) -> None:
    """Clip the gradient of all parameters together: its norm, or each of its numbers, or neither."""
    if settings.clip is not None:
        nn.utils.clip_grad_norm_(method.parameters(), settings.clip)
    if settings.clip_value is not None:
        nn.utils.clip_grad_value_(method.parameters(), settings.clip_value)


def set_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Set the rate of each parameter group to its own highest rate times the schedule's factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def warmed(decay: float, updates: int) -> float:
    """The decay after so many updates, min(decay, (1 + t) / (10 + t)), t = ``updates``.

    The initial weights are thus forgotten early however near to 1 the decay is, as in TensorFlow's
    ExponentialMovingAverage with ``num_updates``.
    """
    return min(decay, (1 + updates) / (10 + updates))


class MovingAverage:
    """Exponential moving average of a method's floating parameters and buffers.

    Args:
        method: its floating tensors are averaged.
        decay: highest weight of the old average in an update, 0 to 1 (:func:`warmed`).
    """

    def __init__(self, method: nn.Module, decay: float) -> None:
        self.decay = decay
        self.live = {k: v for k, v in method.state_dict(keep_vars=True).items() if v.is_floating_point()}
        self.average = {k: v.detach().clone() for k, v in self.live.items()}

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Add the weights of now; ``updates`` of the phase came before this one."""
        share = 1 - warmed(self.decay, updates)
        torch._foreach_lerp_(list(self.average.values()), list(self.live.values()), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the method has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for key, tensor in self.live.items():
            own = tensor.detach().clone()
            tensor.copy_(self.average[key])
            self.average[key].copy_(own)

    @torch.no_grad()
    def adopt(self) -> None:
        """Copy the averages into the method, at the end of training."""
        for key, tensor in self.live.items():
            tensor.copy_(self.average[key])

    def load(self, state: Mapping[str, Tensor]) -> None:
        for key, tensor in self.average.items():
            tensor.copy_(state[key])
