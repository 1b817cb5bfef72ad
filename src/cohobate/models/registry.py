"""Every built-in network: its name, how it is made, where it comes from.

``signature(entry.make)`` shows ``classes`` and, as keywords with defaults, the network's options.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import nn

from .backbones.mobilenet import MobileNetV2
from .backbones.resnet import Basic, Bottleneck, MakeBlock, ResNet, Shortcut
from .backbones.shufflenet import ShuffleNetV1, ShuffleNetV2
from .backbones.vgg import VGG
from .backbones.wrn import WideResNet
from .backbones.xception import Xception


class Entry(NamedTuple):
    """A network by name.

    Attributes:
        make: ``make(classes=K, **options)``.
        source: where the architecture is from.
    """

    make: Callable[..., nn.Module]
    source: str


def _resnet(
    block: MakeBlock,
    blocks: int | tuple[int, ...],
    stem: int = 16,
    widths: tuple[int, ...] = (16, 32, 64),
    source: str = "He et al., CVPR 2016",
) -> Entry:
    def make(classes: int, shortcut: Shortcut = "projection") -> nn.Module:
        return ResNet(block, blocks, classes, stem, widths, shortcut)

    return Entry(make, source)


def _four_stages(block: MakeBlock, blocks: tuple[int, int, int, int]) -> Entry:
    return _resnet(block, blocks, stem=64, widths=(64, 128, 256, 512))


def _wrn(depth: int, width: int) -> Entry:
    return Entry(partial(WideResNet, depth, width), "Zagoruyko and Komodakis, BMVC 2016")


def _vgg(*convolutions: int) -> Entry:
    return Entry(partial(VGG, convolutions), "Simonyan and Zisserman, ICLR 2015")


NETWORKS: dict[str, Entry] = {
    **{f"resnet{depth}": _resnet(Basic, (depth - 2) // 6) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet50c": _resnet(Basic, 8),
    "resnet110b": _resnet(Bottleneck, 12),
    "resnet8x4": _resnet(Basic, 1, stem=32, widths=(64, 128, 256)),
    "resnet32x4": _resnet(Basic, 5, stem=32, widths=(64, 128, 256)),
    "resnet18_cifar": _four_stages(Basic, (2, 2, 2, 2)),
    "resnet34_cifar": _four_stages(Basic, (3, 4, 6, 3)),
    "resnet50_cifar": _four_stages(Bottleneck, (3, 4, 6, 3)),
    "resnext50_32x4d": _resnet(
        partial(Bottleneck, expansion=2, groups=32),
        (3, 4, 6, 3),
        stem=64,
        widths=(128, 256, 512, 1024),
        source="Xie et al., CVPR 2017",
    ),
    "wrn_16_1": _wrn(16, 1),
    "wrn_16_2": _wrn(16, 2),
    "wrn_40_1": _wrn(40, 1),
    "wrn_40_2": _wrn(40, 2),
    "vgg8": _vgg(1, 1, 1, 1, 1),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "mobilenet_v2": Entry(MobileNetV2, "Sandler et al., CVPR 2018"),
    "shufflenet_v1": Entry(ShuffleNetV1, "Zhang et al., CVPR 2018"),
    "shufflenet_v2": Entry(ShuffleNetV2, "Ma et al., ECCV 2018"),
    "xception": Entry(Xception, "Chollet, CVPR 2017"),
}
