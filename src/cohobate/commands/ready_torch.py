"""A network of PyTorch that answers to images as bytes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..core import as_output
from ..data.resident import Normalise, Statistics
from ..engine.evaluate import autocast
from ..inference.cascade import Cascade
from ..runs.exported import About
from .ready import Answers


def in_torch(
    network: nn.Module, about: About, device: torch.device, precision: str
) -> Callable[[Tensor], Answers]:
    """Images as bytes, uint8 (B, C, H, W) -> what a network says of them.

    Args:
        network: normalised images -> logits or an Output, in evaluation mode, on the device.
        about: normalisation and shape of its images.
        device: that computes.
        precision: fp32 or bf16.
    """
    normalised = normalising(about, about.shape[2], device)

    @torch.no_grad()
    def answers(pixels: Tensor) -> Answers:
        x = normalised(pixels)
        with autocast(device, precision):
            return answered(network, x)

    return answers


def normalising(of: Statistics, width: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Images as bytes of this width, uint8 (B, C, H, W) -> the same, normalised, on the device."""
    normalise = Normalise(of, width, device)
    return lambda pixels: normalise(pixels.to(device).permute(0, 2, 3, 1).contiguous())


def answered(network: nn.Module, x: Tensor) -> Answers:
    """What a network, or a cascade, says of normalised images (B, C, H, W)."""
    if isinstance(network, Cascade):
        logits, exits = network.exits(x)
        return Answers(logits.float().cpu(), exits.cpu())
    return Answers(as_output(network(x)).logits.float().cpu())
