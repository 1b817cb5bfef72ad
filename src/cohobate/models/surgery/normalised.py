"""Renormalises its input for a network that was trained with another mean and standard deviation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...core import Output, as_output
from .adapt import Adapted

Channels = tuple[float, ...]
Statistics = tuple[Channels, Channels]
"""Mean and standard deviation of each channel, in units of 0 to 1."""


class Renormalised(nn.Module):
    """``network`` behind a change of normalisation: (x * std + mean - their_mean) / their_std.

    Args:
        network: images -> Output or logits.
        ours: statistics by which its input is normalised.
        theirs: statistics by which its training images were normalised.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, ours: Statistics, theirs: Statistics) -> None:
        super().__init__()
        self.network = network
        (mean, std), (their_mean, their_std) = (torch.tensor(s, dtype=torch.float64) for s in (ours, theirs))
        channels = (-1, 1, 1)
        self.register_buffer("scale", (std / their_std).view(channels).float(), persistent=False)
        self.register_buffer(
            "shift", ((mean - their_mean) / their_std).view(channels).float(), persistent=False
        )

    def forward(self, x: Tensor) -> Output:
        return as_output(self.network(x * self.scale + self.shift))


def pretrained_for(network: nn.Module, classes: int) -> Statistics | None:
    """The statistics by which the input of a library's pretrained network must be normalised.

    None for another number of classes: its classifier is new then, and not trained yet.
    """
    if not isinstance(network, Adapted):
        return None
    wanted: Any = getattr(network.network, "pretrained_cfg", {})
    if wanted.get("num_classes") != classes or "mean" not in wanted:
        return None
    return tuple(wanted["mean"]), tuple(wanted["std"])
