"""Evaluation: the pass of a method over a loader. The measures themselves are in ``measures/``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..core import Loader, Method, Metric, mode

Readouts = Callable[[Tensor], dict[str, Tensor]]
"""Images (B, C, H, W) -> name -> logits, (B, K) or (B, K, H, W)."""

Measured = dict[str, dict[str, Any]]
"""Name of a read-out -> name of a measure -> its value; the deployed network's read-out comes first."""


class Evaluate(Protocol):
    """Measures every read-out over a loader."""

    def __call__(
        self,
        readouts: Readouts,
        loader: Loader,
        device: torch.device,
        precision: str = "fp32",
        peers: tuple[str, ...] = (),
    ) -> Measured: ...


class Measures(NamedTuple):
    """How the predictions of a task are measured.

    Attributes:
        evaluate: measures every read-out.
        headline: the measure by which the best epoch is chosen.
        details: measures that are too long for the record of an epoch.
    """

    evaluate: Evaluate
    headline: Metric
    details: tuple[str, ...] = ()

    def of_method(self, method: Method, loader: Loader, device: torch.device, precision: str) -> Measured:
        """Every read-out of a method, with its weights as they are and without the details."""
        with evaluating(method):
            measured = self.evaluate(method.readouts, loader, device, precision, tuple(method.peer_readouts))
        return {
            name: {key: value for key, value in values.items() if key not in self.details}
            for name, values in measured.items()
        }

    def headline_of(self, measured: Mapping[str, Mapping[str, Any]]) -> float:
        """The headline measure of the deployed network."""
        value: float = next(iter(measured.values()))[self.headline.name]
        return value


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradient inside; every submodule gets its own mode back."""
    with mode(module, training=False), torch.no_grad():
        yield


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bfloat16 autocast for the precision ``bf16``, nothing for another one."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def predictions(
    readouts: Readouts, loader: Loader, device: torch.device, precision: str
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Batch by batch, the labels and the logits of every read-out."""
    for batch in loader.epoch(0):
        with autocast(device, precision):
            logits = readouts(batch.x)
        yield batch.y, logits
