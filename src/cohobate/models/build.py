"""Networks by name: built in, of timm, of torchvision."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

import yaml
from torch import nn

from .checkpoints import load_weights
from .libraries import LIBRARIES, build_library
from .registry import NETWORKS
from .surgery.probe import Shape, look


def names() -> list[str]:
    """Every built-in name that :func:`build` knows."""
    return list(NETWORKS)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """``name:option=value:option`` -> name and options; an option without a value is True.

    The name itself may be ``timm:name``, ``torchvision:name``, ``file.py:function`` or
    ``package.module:function``.

    Raises:
        ValueError: an option without a name.
    """
    head, *rest = spec.split(":")
    if rest and (head in LIBRARIES or "." in head):
        head = f"{head}:{rest.pop(0)}"
    options = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not key:
            raise ValueError(f"{spec!r} has an option without a name; write {head}:option=value")
        options[key.strip()] = yaml.safe_load(value) if equals else True
    return head, options


def is_known(name: str) -> bool:
    """Whether a name without its options is :func:`build`'s to make (or to refuse), not a user's."""
    return ":" not in name or name.partition(":")[0] in LIBRARIES


def build(spec: str, classes: int, *, shape: Shape | None = None, **options: Any) -> nn.Module:
    """A network that returns :class:`cohobate.Output`.

    Args:
        spec: one of :func:`names`, ``timm:NAME`` or ``torchvision:NAME``; options may follow,
            ``resnet20:shortcut=padding``, ``timm:resnet18:pretrained``.
        classes: K.
        shape: (C, H, W) of the images it will see, to try it on two; a library's network is tried
            on the images that it was made for, unless told otherwise.
        **options: of that network. ``weights=FILE`` loads a checkpoint (:func:`load_weights`) and
            ``pretrained=True`` downloads a library's own weights.

    Raises:
        ValueError: an unknown name or option, with the nearest; images it cannot take.
        ImportError: the library is missing or broken; the message says what to install.
    """
    name, given = parse(spec)
    given |= options
    weights = given.pop("weights", None)
    library, _, inside = name.partition(":")
    if library in LIBRARIES:
        network = build_library(library, inside, classes, shape, given)
    elif name in NETWORKS:
        network = _built_in(name, classes, given)
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


def nearest(name: str, known: Iterable[str]) -> str:
    """The three known names that look most like ``name``."""
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0))
