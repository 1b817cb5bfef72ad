"""Equations in float32, and the cross-entropy that all methods share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .batch import IGNORED

Function = TypeVar("Function", bound=Callable[..., Any])


def float32(function: Function) -> Function:
    """Run an equation with autocast off and half-precision arguments cast up; float64 stays.

    ``.float()`` alone is not enough: autocast would put matmul and linear back into bfloat16.
    """

    @functools.wraps(function)
    def careful(*args: Any, **kwargs: Any) -> Any:
        device = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        args, kwargs = tuple(map(_up, args)), {k: _up(v) for k, v in kwargs.items()}
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return careful  # type: ignore[return-value]


def _up(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


@float32
def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy over the positions that are not ignored.

    Args:
        logits: (B, K) or (B, K, H, W).
        y: ids, (B,) or (B, H, W), where -100 is ignored; or probabilities of the logits' shape.

    Raises:
        ValueError: ids of another shape than the predictions.
    """
    if y.is_floating_point():
        return F.cross_entropy(logits, y)
    if logits.shape[2:] != y.shape[1:]:
        raise ValueError(
            f"logits {tuple(logits.shape)} do not fit labels {tuple(y.shape)}: a network for images with one "
            "label gives (B, K), one for masks (B, K, H, W) of the image's size (--model dense:BACKBONE)"
        )
    total = F.cross_entropy(logits, y, ignore_index=IGNORED, reduction="sum")
    return total / (y != IGNORED).sum().clamp(min=1)


def only_kept(logits: Tensor, kept: Tensor | None) -> Tensor:
    """Logits (B, K, H, W), 0 where they are not kept, so that no value there counts and no gradient passes.

    Args:
        logits: of any shape where all positions are kept.
        kept: (B, H, W), bool (:attr:`cohobate.core.Batch.kept`); None: all.
    """
    return logits if kept is None else torch.where(kept.unsqueeze(1), logits, 0)


def kept_positions(logits: Tensor, kept: Tensor | None) -> float | Tensor:
    """How many positions of logits (B, K) or (B, K, H, W) a mean is over, at least 1."""
    if kept is None:
        return logits.numel() / logits.shape[1]
    return kept.sum().clamp(min=1).to(logits.dtype)


def resized(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Logits of every pixel, (B, K, h, w), at another size, bilinearly; those of that size are unchanged.

    Args:
        logits: (B, K, h, w); logits of whole images, (B, K), are returned as they are.
        size: (H, W); for logits of whole images ().
    """
    if all(side == wanted for side, wanted in zip(logits.shape[2:], size, strict=True)):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
