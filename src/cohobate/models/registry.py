"""Names of networks: the built-in ones, and the syntax of a name with options.

No torch here: a network's file is imported when the network is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from ..config.grammar import split

if TYPE_CHECKING:
    from torch import nn

HE = "He et al., CVPR 2016"
WRN = "Zagoruyko and Komodakis, BMVC 2016"
VGG = "Simonyan and Zisserman, ICLR 2015"

CIFAR = 16, (16, 32, 64)
WIDE = 32, (64, 128, 256)
IMAGENET = 64, (64, 128, 256, 512)
"""Of ResNets: channels of the stem, and of each stage before the block's expansion."""


class Entry(NamedTuple):
    """A network by name.

    Attributes:
        function: ``file:name`` in ``backbones/``, of a class or a function that makes the network.
        arguments: its first arguments; ``classes`` and the options follow.
        source: where the architecture is from.
    """

    function: str
    arguments: tuple[Any, ...]
    source: str

    @property
    def make(self) -> Callable[..., nn.Module]:
        """``make(classes=K, **options)``; its signature shows the options, with their defaults."""
        file, _, name = self.function.partition(":")
        module = import_module(f"{__package__}.backbones.{file}")
        return partial(getattr(module, name), *self.arguments)


NETWORKS: dict[str, Entry] = {
    "resnet8": Entry("resnet:basic", (1, *CIFAR), HE),
    "resnet14": Entry("resnet:basic", (2, *CIFAR), HE),
    "resnet20": Entry("resnet:basic", (3, *CIFAR), HE),
    "resnet32": Entry("resnet:basic", (5, *CIFAR), HE),
    "resnet44": Entry("resnet:basic", (7, *CIFAR), HE),
    "resnet56": Entry("resnet:basic", (9, *CIFAR), HE),
    "resnet110": Entry("resnet:basic", (18, *CIFAR), HE),
    "resnet50c": Entry("resnet:basic", (8, *CIFAR), HE),
    "resnet110b": Entry("resnet:bottleneck", (12, *CIFAR), HE),
    "resnet8x4": Entry("resnet:basic", (1, *WIDE), HE),
    "resnet32x4": Entry("resnet:basic", (5, *WIDE), HE),
    "resnet18_cifar": Entry("resnet:basic", ((2, 2, 2, 2), *IMAGENET), HE),
    "resnet34_cifar": Entry("resnet:basic", ((3, 4, 6, 3), *IMAGENET), HE),
    "resnet50_cifar": Entry("resnet:bottleneck", ((3, 4, 6, 3), *IMAGENET), HE),
    "resnext50_32x4d": Entry("resnet:resnext", ((3, 4, 6, 3),), "Xie et al., CVPR 2017"),
    "wrn_16_1": Entry("wrn:WideResNet", (16, 1), WRN),
    "wrn_16_2": Entry("wrn:WideResNet", (16, 2), WRN),
    "wrn_40_1": Entry("wrn:WideResNet", (40, 1), WRN),
    "wrn_40_2": Entry("wrn:WideResNet", (40, 2), WRN),
    "vgg8": Entry("vgg:VGG", ((1, 1, 1, 1, 1),), VGG),
    "vgg11": Entry("vgg:VGG", ((1, 1, 2, 2, 2),), VGG),
    "vgg13": Entry("vgg:VGG", ((2, 2, 2, 2, 2),), VGG),
    "vgg16": Entry("vgg:VGG", ((2, 2, 3, 3, 3),), VGG),
    "vgg19": Entry("vgg:VGG", ((2, 2, 4, 4, 4),), VGG),
    "mobilenet_v2": Entry("mobilenet:MobileNetV2", (), "Sandler et al., CVPR 2018"),
    "shufflenet_v1": Entry("shufflenet:ShuffleNetV1", (), "Zhang et al., CVPR 2018"),
    "shufflenet_v2": Entry("shufflenet:ShuffleNetV2", (), "Ma et al., ECCV 2018"),
    "xception": Entry("xception:Xception", (), "Chollet, CVPR 2017"),
}
"""Every built-in network. A new one is its file in ``backbones/`` and a line here."""

LIBRARIES = ("timm", "torchvision")
"""Libraries whose networks are named ``LIBRARY:NAME``."""

DENSE = "dense"
"""``dense:BACKBONE`` predicts a class for every pixel: a pyramid and a dense head on any such network."""


class DenseEntry(NamedTuple):
    """A network by name that predicts a class for every pixel.

    Attributes:
        backbone: its name.
        options: of the pyramid and the head, where they differ from the defaults.
        source: where the architecture is from.
    """

    backbone: str
    options: dict[str, Any]
    source: str


TAN = "Tan et al., CVPR 2020; Ji et al., CVPR 2021"
EFFICIENTDET = {"extra": 2, "head": 256}

DENSE_NETWORKS: dict[str, DenseEntry] = {
    "efficientdet_d0": DenseEntry("timm:efficientnet_b0", {"width": 64, **EFFICIENTDET}, TAN),
    "efficientdet_d1": DenseEntry("timm:efficientnet_b1", {"width": 88, **EFFICIENTDET}, TAN),
}

INITIAL = (
    *("pretrained", "weights", "checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay"),
    *("pretrained_strict", "pretrained_filter_fn", "pretrained_model_args"),
)
"""Options that say where a network's first weights are from, files or the net, and how these are read. What
is trained does not need them; and timm would unpickle the file of ``checkpoint_path``."""


def names() -> list[str]:
    """The names of the built-in networks that classify images."""
    return list(NETWORKS)


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """``name:option=value:option`` -> name and options; an option without a value is True.

    The name itself may be ``timm:name``, ``torchvision:name``, ``file.py:function`` or
    ``package.module:function``; or ``dense:`` and one of these, the backbone.

    Raises:
        ValueError: an option without a name, or ``dense`` without a backbone.
    """
    if (inner := _backbone(spec)) is not None:
        name, options = parse(inner)
        return f"{DENSE}:{name}", options
    head, *rest = split(spec)
    # A name of timm may hold what no option does, resnet18.a1_in1k, and is part of the head then.
    whole = head.partition(":")[0] in LIBRARIES and ":" in head
    if rest and not whole and (head in LIBRARIES or "." in head) and "=" not in rest[0]:
        head = f"{head}:{rest.pop(0)}"
    options = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not key:
            raise ValueError(f"{spec!r} has an option without a name; write {head}:option=value")
        options[key.strip()] = yaml.safe_load(value) if equals else True
    return head, options


def is_known(name: str) -> bool:
    """Whether a name without its options is :func:`cohobate.build`'s to make (or to refuse), not a user's.

    Of ``dense:BACKBONE`` it is whether the backbone is.
    """
    inner = _backbone(name) or name
    return ":" not in inner or inner.partition(":")[0] in LIBRARIES


def _backbone(spec: str) -> str | None:
    """What stands after ``dense:``; None if nothing is dense."""
    first, _, inner = (part.strip() for part in spec.partition(":"))
    if first != DENSE:
        return None
    if not inner or inner.partition(":")[0] == DENSE:
        raise ValueError(
            f"{spec!r} names no backbone; write {DENSE}:resnet20, or {DENSE}:timm:NAME for one of a library"
        )
    return inner


def dense_parts(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The backbone of a network that predicts a class for every pixel, and its options; None for others.

    Args:
        name: without options (:func:`parse`).
        options: as they were given; those that belong to the name are added.
    """
    if name in DENSE_NETWORKS:
        entry = DENSE_NETWORKS[name]
        return entry.backbone, {**entry.options, **options}
    inner = _backbone(name)
    return None if inner is None else (inner, options)
