"""Attention maps of a network's blocks, and their concentration.

Ji et al., *Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge Distillation*, CVPR 2021,
sections 4.3 and 8, figures 3 and 5: channel-wise pooling of a block's feature map.

Choices:

- Channel-wise pooling: squares averaged over the channels, as in the feature loss before it scales each map
  to length 1 (Zagoruyko and Komodakis, ICLR 2017).
- Concentration: the paper says that the self-teacher's maps are more concentrated and prints no number. Ours
  is the share of a map that lies in its strongest quarter of positions: 25 % where it is the same
  everywhere, 100 % where a quarter or less of the positions has all of it. A quarter that is no whole number
  of positions takes part of one, so that maps of any size have the same lower end. Maps of different
  sizes still differ by their size alone: compare networks at the same block, not blocks.
- A map of zeros counts as uniform.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import float32

QUARTER = 0.25


@float32
def pooled(stage: Tensor) -> Tensor:
    """Squares averaged over the channels: (B, C, H, W) -> (B, H, W).

    Raises:
        ValueError: not of four dimensions.
    """
    if stage.ndim != 4:
        raise ValueError(f"a feature map is (B, C, H, W), got shape {tuple(stage.shape)}")
    return stage.square().mean(dim=1)


@float32
def concentration(maps: Tensor, share: float = QUARTER) -> Tensor:
    """The part of each map that lies in its strongest positions.

    Args:
        maps: (B, H, W), not negative.
        share: of the positions, 0 < share <= 1.

    Returns:
        (B,), from ``share`` (the same everywhere) to 1.

    Raises:
        ValueError: a share out of range, or not three dimensions.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share, of the positions, must lie in (0, 1], got {share}")
    if maps.ndim != 3:
        raise ValueError(f"maps are (B, H, W), got shape {tuple(maps.shape)}")
    flat = maps.flatten(1)
    positions = flat.shape[1]
    total = flat.sum(dim=1, keepdim=True)
    parts = torch.where(total > 0, flat / total, 1 / positions)
    # 1 for every whole position among the strongest, a fraction for the last one.
    counted = (share * positions - torch.arange(positions, device=flat.device)).clamp(0, 1)
    return (parts.sort(dim=1, descending=True).values * counted.to(parts)).sum(dim=1)


def to_own_range(maps: Tensor) -> Tensor:
    """Each map from 0 (its lowest value) to 1 (its highest), (B, H, W); one that never varies is 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1.0)
