"""What a network says of an image: one class, or a class for every pixel."""

from __future__ import annotations

from typing import Literal

Task = Literal["classification", "segmentation"]
"""Labels are (B,) for classification and (B, H, W) for segmentation, logits (B, K) and (B, K, H, W)."""
