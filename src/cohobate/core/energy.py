"""Energy: how sure a network is of an image, or of many (ResKD, Li et al., 2021, eqs. 8 and 9).

sigma(S_i(x))       softmax of the logits
Energy(S_i, {x})    energy(logits): the sum of the squared probabilities, in [1 / K, 1]
Energy(S_i, D)      mean_energy(logits): its mean over a set of images
"""

from __future__ import annotations

import torch
from torch import Tensor

from .numerics import float32


@float32
def energy(logits: Tensor) -> Tensor:
    """The squared length of the softmax of each image, (B, K) -> (B,), at most 1.

    Raises:
        ValueError: not of two dimensions.
    """
    return _energy(logits)


def precise_energy(logits: Tensor) -> Tensor:
    """The energy in float64, (B, K) -> (B,), at most 1; no gradient.

    In float32 the energies of all images that a network is very sure of are 1, so that no threshold could
    tell them apart; the energies of images that a network was trained on are of that kind.

    Raises:
        ValueError: not of two dimensions.
    """
    return _energy(logits.detach(), torch.float64)  # autocast leaves float64 as it is


def _energy(logits: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    if logits.ndim != 2:
        raise ValueError(f"the energy is of the logits of images, (B, K), got shape {tuple(logits.shape)}")
    # Rounding may lift a certain prediction above 1, where no energy is.
    return logits.softmax(dim=1, dtype=dtype).square().sum(dim=1).clamp(max=1)  # Eq. 8


def mean_energy(logits: Tensor) -> float:
    """The mean energy of images in float64, (N, K) -> a number in [1 / K, 1].

    Raises:
        ValueError: no image, or not of two dimensions.
    """
    if len(logits) == 0:
        raise ValueError("the energy of no image is not defined; D_v needs one image or more")
    return float(precise_energy(logits).mean())  # Eq. 9
