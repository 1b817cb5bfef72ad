"""Training or evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def mode(network: nn.Module, training: bool) -> Iterator[None]:
    """The whole network in training or evaluation mode; every module gets its own mode back."""
    modes = {module: module.training for module in network.modules()}
    network.train(training)
    try:
        yield
    finally:
        for module, was in modes.items():
            module.training = was
