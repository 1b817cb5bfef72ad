"""A network that learned from images normalised in another way, shown ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...core import Output, as_output
from .adapt import Adapted

Channels = tuple[float, float, float]
Statistics = tuple[Channels, Channels]
"""Mean and standard deviation of each channel, in units of 0 to 1."""


class Renormalised(nn.Module):
    """``network``, whose images had other statistics: (x * ours + mean - theirs) / their deviation.

    Args:
        network: images -> Output or logits.
        ours: of the images it will be given.
        theirs: of the images it learned from.
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
    """How a library's pretrained network wants its images normalised, if it predicts these classes.

    None for another number of classes: its classifier is a new one then, and still has to learn.
    """
    if not isinstance(network, Adapted):
        return None
    wanted: Any = getattr(network.network, "pretrained_cfg", {})
    if wanted.get("num_classes") != classes or "mean" not in wanted:
        return None
    return tuple(wanted["mean"]), tuple(wanted["std"])
