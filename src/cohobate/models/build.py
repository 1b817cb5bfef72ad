"""Networks by name: built in, of timm, of torchvision."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ..config.objects import nearest
from ..core import Shape
from .checkpoints import load_weights
from .libraries import build_library
from .registry import LIBRARIES, NETWORKS, names, parse
from .surgery.probe import look


def build(spec: str, classes: int, *, shape: Shape | None = None, **options: Any) -> nn.Module:
    """A network that returns :class:`cohobate.Output`.

    Args:
        spec: one of :func:`cohobate.models.registry.names`, ``timm:NAME`` or ``torchvision:NAME``;
            options may follow, ``resnet20:shortcut=padding``, ``timm:resnet18:pretrained``.
        classes: K.
        shape: (C, H, W) of the images it will see, to try it on two: its first convolution is made for as
            many channels. By default a built-in network is made for 3 (``channels=1`` for 1), and a library's
            network is tried on the images that it was made for.
        **options: of that network. ``weights=FILE`` loads a checkpoint (:func:`load_weights`) and
            ``pretrained=True`` downloads a library's own weights.

    Raises:
        ValueError: an unknown name or option, with the nearest; images it cannot take.
        ImportError: the library is missing or broken; the message says what to install.
    """
    name, written = parse(spec)
    options = written | options
    weights = options.pop("weights", None)
    library, _, inside = name.partition(":")
    if library in LIBRARIES:
        network = build_library(library, inside, classes, shape, options)
    elif name in NETWORKS:
        if shape is not None:
            options.setdefault("channels", shape[0])
        network = _built_in(name, classes, options)
        if shape is not None:
            look(network, shape)
    else:
        raise ValueError(
            f"unknown model {name!r}; the nearest are {nearest(name, names())} (`cohobate list models` "
            "shows all; timm:NAME and torchvision:NAME take theirs, file.py:function your own)"
        )
    if weights is not None:
        load_weights(network, weights)
    return network


def _built_in(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    make = NETWORKS[name].make
    known = [p for p in inspect.signature(make).parameters if p != "classes"]
    for option in options:
        if option not in known:
            listed = ", ".join([*known, "weights"])
            raise ValueError(f"{name} has no option {option!r}; it has {listed}")
    return make(classes=classes, **options)
