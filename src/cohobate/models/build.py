"""Networks by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from torch import nn

from .resnet import Basic, Bottleneck, ResNet, Shortcut
from .wrn import WideResNet


def _basic(depth: int) -> Callable[..., nn.Module]:
    return partial(ResNet, Basic, (depth - 2) // 6)


_X4 = {"stem": 32, "widths": (64, 128, 256)}

RESNETS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": _basic(depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet50c": _basic(50),
    "resnet110b": partial(ResNet, Bottleneck, 12),
    "resnet8x4": partial(_basic(8), **_X4),
    "resnet32x4": partial(_basic(32), **_X4),
}
WIDE: dict[str, Callable[..., nn.Module]] = {
    f"wrn_{depth}_{width}": partial(WideResNet, depth, width) for depth in (16, 40) for width in (1, 2)
}


def names() -> list[str]:
    """Every name that :func:`build` knows."""
    return [*RESNETS, *WIDE]


def build(name: str, classes: int, shortcut: Shortcut = "projection") -> nn.Module:
    """A freshly initialised network.

    Args:
        name: one of :func:`names`.
        classes: K.
        shortcut: of the ResNets: ``projection`` (1x1 convolution) or ``padding`` (option A).

    Raises:
        ValueError: an unknown name; the nearest are in the message.
    """
    if name in RESNETS:
        return RESNETS[name](classes=classes, shortcut=shortcut)
    if name in WIDE:
        return WIDE[name](classes=classes)
    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.0)
    raise ValueError(
        f"unknown model {name!r}; the nearest are {', '.join(near)} "
        "(`cohobate list models` shows all; file.py:function takes your own)"
    )
