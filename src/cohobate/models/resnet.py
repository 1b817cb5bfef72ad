"""Residual networks in CIFAR form: three stages on 32x32, every residual branch gated.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016 (section 4.2).
Basic blocks give depth 6n + 2, bottleneck blocks 9n + 2.

Choices. The published CIFAR networks use parameter-free shortcuts (option A, ``padding``); the
public benchmarks of distillation use 1x1 convolutions (option B, ``projection``), the default here.
``resnet8x4`` and ``resnet32x4`` have twice the stem and four times the width in each stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Gate, Output

Shortcut = Literal["projection", "padding"]


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


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
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if kind == "padding":
        return PaddingShortcut(inputs, outputs, stride)
    return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """Two 3x3 convolutions. Returns the block's output and what it was before the last ReLU."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
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
    """1x1, 3x3, 1x1 convolutions. Returns as :class:`Basic` does."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = conv1x1(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, 4 * width)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.gate = Gate(affine="bn3")
        self.shortcut = make_shortcut(shortcut, inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        preact = self.gate(branch) + self.shortcut(x)
        return F.relu(preact), preact


class ResNet(nn.Module):
    """Stem, three stages, average pooling, linear.

    Args:
        block: :class:`Basic` or :class:`Bottleneck`.
        blocks: residual blocks of each stage.
        classes: K.
        stem: channels of the stem.
        widths: channels of each stage, before the block's expansion.
        shortcut: ``projection`` (1x1 convolution) or ``padding`` (no parameters).

    Shapes: (B, 3, H, W) -> Output with logits (B, K), pooled (B, D) and three stages at 1, 1/2, 1/4.
    """

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        blocks: int,
        classes: int,
        stem: int = 16,
        widths: tuple[int, int, int] = (16, 32, 64),
        shortcut: Shortcut = "projection",
    ) -> None:
        super().__init__()
        self.conv = conv3x3(3, stem)
        self.bn = nn.BatchNorm2d(stem)
        inputs = stem
        self.stages = nn.ModuleList()
        for stage, width in enumerate(widths):
            layers = nn.ModuleList()
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                layers.append(block(inputs, width, stride, shortcut))
                inputs = width * block.expansion
            self.stages.append(layers)
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn(self.conv(x)))
        stages, preacts = [], []
        for stage in self.stages:
            for block in cast(Iterable[Basic | Bottleneck], stage):
                x, preact = block(x)
            stages.append(x)
            preacts.append(preact)
        pooled = x.mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, tuple(stages), tuple(preacts))


def initialise(network: nn.Module) -> None:
    """He initialisation of the convolutions (fan-out); batch norms start as the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
