"""Networks by name: built in, of timm, of torchvision."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..config.objects import nearest
from ..core import Shape
from ..core.options import declared_hints, own
from .checkpoints import load_weights
from .dense.network import DenseNetwork
from .libraries import build_library
from .registry import DENSE_NETWORKS, LIBRARIES, NETWORKS, dense_parts, names, parse
from .surgery.adapt import Adapted, made_for
from .surgery.probe import look


def build(spec: str, classes: int, *, shape: Shape | None = None, **options: Any) -> nn.Module:
    """A network that returns :class:`cohobate.Output`.

    Args:
        spec: one of :func:`cohobate.models.registry.names`, ``timm:NAME`` or ``torchvision:NAME``;
            options may follow, ``resnet20:shortcut=padding``, ``timm:resnet18:pretrained``. ``dense:`` and
            any of these, or ``efficientdet_d0``: a network that predicts a class for every pixel.
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
    if (parts := dense_parts(name, options)) is not None:
        backbone, given = parts
        network = on_backbone(
            name, given, classes, shape, lambda rest: build(backbone, classes, shape=shape, **rest)
        )
    elif library in LIBRARIES:
        network = build_library(library, inside, classes, shape, options)
    elif name in NETWORKS:
        if shape is not None:
            options.setdefault("channels", shape[0])
        network = _built_in(name, classes, options)
        if shape is not None:
            look(network, shape)
    else:
        near = nearest(name, [*names(), *DENSE_NETWORKS])
        raise ValueError(
            f"unknown model {name!r}; the nearest are {near} (`cohobate list models` shows all; timm:NAME "
            "and torchvision:NAME take theirs, file.py:function your own)"
        )
    if weights is not None:
        load_weights(network, weights)
    return network


def on_backbone(
    name: str,
    options: dict[str, Any],
    classes: int,
    shape: Shape | None,
    make: Callable[[dict[str, Any]], nn.Module],
) -> nn.Module:
    """A pyramid and a dense head on a backbone.

    Args:
        name: of the whole network, for messages.
        options: of the pyramid and the head, and the backbone's.
        classes: K.
        shape: (C, H, W) of the images; None: of those that the backbone was made for.
        make: the backbone from its options, which are all that the pyramid and the head do not have.

    Raises:
        ValueError: an unknown option or one out of range, or a backbone without enough stages.
    """
    own_options = own(DenseNetwork, options)
    rest = {key: value for key, value in options.items() if key not in own_options}
    try:
        network = make(rest)
    except ValueError as error:
        if not rest:
            raise
        known = ", ".join(dense_options())
        raise ValueError(f"{error}; the options of {name}'s own pyramid and head are {known}") from error
    return DenseNetwork.of(network, classes, shape or images_of(network), **own_options)


def dense_options() -> list[str]:
    """The names of the options of the pyramid and the head of a network for every pixel."""
    makers = (DenseNetwork.of.__func__, DenseNetwork.__init__)  # type: ignore[attr-defined]
    return [name for maker in makers for name in declared_hints(maker)]


def images_of(network: nn.Module) -> Shape:
    """(C, H, W) of the images that a network was made for; of a built-in one 32 x 32 pixels."""
    if isinstance(network, Adapted):
        return made_for(network.network)
    channels = next(m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    return channels, 32, 32


def _built_in(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    make = NETWORKS[name].make
    known = [p for p in inspect.signature(make).parameters if p != "classes"]
    for option in options:
        if option not in known:
            listed = ", ".join([*known, "weights"])
            raise ValueError(f"{name} has no option {option!r}; it has {listed}")
    return make(classes=classes, **options)
