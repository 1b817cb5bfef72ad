"""Residual networks in CIFAR form: 3x3 stem, no pooling before the end, every residual branch gated.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016 (section 4.2).
Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017.
Three stages of basic blocks give depth 6n + 2, of bottleneck blocks 9n + 2.

Choices. The published CIFAR networks use parameter-free shortcuts (option A, ``padding``); the
public benchmarks of distillation use 1x1 convolutions (option B, ``projection``), the default here.
Option A puts half of its zero channels before the channels of its input and half behind, as the CIFAR
code that most weights of such networks come from does; other public code puts all of them behind. The
two networks are the same but for the order of their channels, so only weights cannot be exchanged.
``resnet8x4`` and ``resnet32x4`` have twice the stem and four times the width in each stage. The
``_cifar`` networks are the ImageNet ones (four stages, 64 to 512 channels) behind the 3x3 stem.
A bottleneck strides in its 3x3 convolution.

The small parts that other networks of this folder share are at the top.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, Protocol, cast, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Gate, Output

Shortcut = Literal["projection", "padding"]


def conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, groups=groups, bias=False)


def initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions (fan-out), no bias; batch norms start as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def one_of(option: str, value: object, kind: Any) -> None:
    """Refuse a value that the Literal ``kind`` does not have."""
    if value not in get_args(kind):
        raise ValueError(f"{option} is one of {', '.join(get_args(kind))}, got {value!r}")


class Block(Protocol):
    """A layer that returns its output after and before its last ReLU."""

    outputs: int

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


def walk(stages: nn.ModuleList, x: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Run ``x`` through stages of :class:`Block`; their outputs after and before the last ReLU."""
    ends = []
    for stage in stages:
        for block in cast(Iterable[Block], stage):
            x, preact = block(x)
        ends.append((x, preact))
    after, before = zip(*ends, strict=True)
    return after, before


class PaddingShortcut(nn.Module):
    """Option A: subsample, then pad with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.missing = outputs - inputs
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        front = self.missing // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, front, self.missing - front))


def make_shortcut(kind: Shortcut, inputs: int, outputs: int, stride: int) -> nn.Module:
    one_of("shortcut", kind, Shortcut)
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if kind == "padding":
        return PaddingShortcut(inputs, outputs, stride)
    return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """Two 3x3 convolutions. Returns the output after and before the last ReLU."""

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.outputs = width
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.gate = Gate(affine="bn2")
        self.shortcut = make_shortcut(shortcut, inputs, width, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        preact = self.gate(branch) + self.shortcut(x)
        return F.relu(preact), preact


class Bottleneck(nn.Module):
    """1x1, 3x3 (in ``groups``), 1x1 to ``expansion`` times the width. Returns as :class:`Basic` does."""

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        shortcut: Shortcut,
        expansion: int = 4,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.outputs = expansion * width
        self.conv1 = conv1x1(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, self.outputs)
        self.bn3 = nn.BatchNorm2d(self.outputs)
        self.gate = Gate(affine="bn3")
        self.shortcut = make_shortcut(shortcut, inputs, self.outputs, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        preact = self.gate(branch) + self.shortcut(x)
        return F.relu(preact), preact


class MakeBlock(Protocol):
    """:class:`Basic`, :class:`Bottleneck`, or a partial of them."""

    def __call__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> Basic | Bottleneck: ...


class ResNet(nn.Module):
    """Stem, stages, average pooling, linear. Every stage but the first halves the resolution.

    Args:
        block: makes a residual block: :class:`Basic` or :class:`Bottleneck`.
        blocks: residual blocks of each stage; one number for all.
        classes: K.
        stem: channels of the stem.
        widths: channels of each stage, before the block's expansion.
        shortcut: ``projection`` (1x1 convolution) or ``padding`` (no parameters).
        channels: C of the images.

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, D) and stages at 1, 1/2, 1/4, ...
    """

    def __init__(
        self,
        block: MakeBlock,
        blocks: int | tuple[int, ...],
        classes: int,
        stem: int = 16,
        widths: tuple[int, ...] = (16, 32, 64),
        shortcut: Shortcut = "projection",
        channels: int = 3,
    ) -> None:
        super().__init__()
        counts = (blocks,) * len(widths) if isinstance(blocks, int) else blocks
        if len(counts) != len(widths):
            raise ValueError(f"each stage has a width and a number of blocks, got {widths} and {blocks}")
        self.conv = conv3x3(channels, stem)
        self.bn = nn.BatchNorm2d(stem)
        inputs = stem
        self.stages = nn.ModuleList()
        for stage, (width, count) in enumerate(zip(widths, counts, strict=True)):
            layers = nn.ModuleList()
            for i in range(count):
                layer = block(inputs, width, 2 if stage > 0 and i == 0 else 1, shortcut)
                layers.append(layer)
                inputs = layer.outputs
            self.stages.append(layers)
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn(self.conv(x)))
        stages, preacts = walk(self.stages, x)
        pooled = stages[-1].mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, stages, preacts)


def basic(
    blocks: int | tuple[int, ...],
    stem: int,
    widths: tuple[int, ...],
    classes: int,
    shortcut: Shortcut = "projection",
    channels: int = 3,
) -> ResNet:
    """A ResNet of :class:`Basic` blocks."""
    return ResNet(Basic, blocks, classes, stem, widths, shortcut, channels)


def bottleneck(
    blocks: int | tuple[int, ...],
    stem: int,
    widths: tuple[int, ...],
    classes: int,
    shortcut: Shortcut = "projection",
    channels: int = 3,
) -> ResNet:
    """A ResNet of :class:`Bottleneck` blocks."""
    return ResNet(Bottleneck, blocks, classes, stem, widths, shortcut, channels)


def resnext(
    blocks: tuple[int, ...], classes: int, shortcut: Shortcut = "projection", channels: int = 3
) -> ResNet:
    """A ResNeXt of 32 groups, 4 channels wide in the first stage."""
    block = partial(Bottleneck, expansion=2, groups=32)
    return ResNet(block, blocks, classes, 64, (128, 256, 512, 1024), shortcut, channels)
