"""A network for use without training code: pixels as a program has them -> logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config.forms import Values
from ..core import as_output


class Normalisation(NamedTuple):
    """What normalises images.

    Attributes:
        mean, std: of each channel, in units of 0 to 1.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def factors(self, largest: int) -> tuple[Tensor, Tensor]:
        """Factor and summand, (C, 1, 1), for values of 0 to ``largest``; rounded once, as in the training."""
        mean, std = (torch.tensor(each, dtype=torch.float64).view(-1, 1, 1) for each in self)
        return (1 / (largest * std)).float(), (-mean / std).float()

    def of_bytes(self, pixels: Tensor, values: Values) -> Tensor:
        """Images as bytes, uint8 (B, C, H, W) -> the same images with these values."""
        if values == "0-255":
            return pixels
        if values == "0-1":
            return pixels.float() / 255
        factor, summand = self.factors(255)
        return pixels.float() * factor + summand


class Deployable(nn.Module):
    """Images with these values -> logits, float32; normalised inside, unless they are so already.

    Args:
        network: normalised images (B, C, H, W) -> logits, (B, K) or (B, K, H, W), or an Output.
        normalisation: of its images.
        values: that the images have.
    """

    factor: Tensor
    summand: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation, values: Values) -> None:
        super().__init__()
        self.network, self.normalisation, self.values = network, normalisation, values
        factor, summand = normalisation.factors(255 if values == "0-255" else 1)
        self.register_buffer("factor", factor)
        self.register_buffer("summand", summand)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K) or (B, K, H, W)."""
        if self.values != "normalised":
            images = images.float() * self.factor + self.summand
        return as_output(self.network(images)).logits

    def example(self, images: int, shape: Sequence[int]) -> Tensor:
        """A batch of noise with such values: ``images`` of ``shape`` = (C, H, W)."""
        return self.normalisation.of_bytes(noise(images, shape), self.values)


def noise(images: int, shape: Sequence[int]) -> Tensor:
    """Images of random bytes, always the same: uint8, ``images`` of ``shape`` = (C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (images, *shape), dtype=torch.uint8, generator=generator)
