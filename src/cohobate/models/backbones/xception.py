"""Xception in CIFAR form.

Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017 (figure 5).

Choices. For 32x32 images neither the stem nor the third block of the entry flow strides, so that the
middle flow works on 8x8. Convolutions are padded. The blocks are pre-activation blocks: the shortcut
takes the raw sum, the branch its ReLU; a stage is read as ReLU of the sum, ``preact`` as the sum.
The convolutions behind the last block take its raw sum, as the paper's figure draws it. The gate
stands behind the branch's max pooling, which any scale of zero or more passes through.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Gate, Output
from .resnet import conv1x1, conv3x3, initialise


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution within each channel, then a 1x1 across them."""
    return nn.Sequential(conv3x3(inputs, inputs, groups=inputs), conv1x1(inputs, outputs))


class Down(nn.Module):
    """Two separable convolutions and max pooling, added to a 1x1 convolution of the raw input."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = separable(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = separable(width, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pool = nn.MaxPool2d(3, stride, padding=1)
        self.gate = Gate(affine="bn2")
        self.shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(activated)))
        branch = self.pool(self.bn2(self.conv2(branch)))
        added: Tensor = self.gate(branch) + self.shortcut(x)
        return added


class Middle(nn.Module):
    """Three separable convolutions, added to the raw input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = separable(width, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = separable(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = separable(width, width)
        self.bn3 = nn.BatchNorm2d(width)
        self.gate = Gate(affine="bn3")

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(activated)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        added: Tensor = self.gate(branch) + x
        return added


class Exit(nn.Module):
    """The exit flow: a last strided block, then two separable convolutions of its raw sum."""

    def __init__(self) -> None:
        super().__init__()
        self.down = Down(728, 728, 1024, stride=2)
        self.conv1 = separable(1024, 1536)
        self.bn1 = nn.BatchNorm2d(1536)
        self.conv2 = separable(1536, 2048)
        self.bn2 = nn.BatchNorm2d(2048)

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        x = self.down(x, activated)
        x = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return x


class Xception(nn.Module):
    """Stem, entry flow, middle flow, exit flow; average pooling, linear.

    Args:
        classes: K.
        channels: C of the images.

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, 2048) and four stages at 1/2, 1/4,
    1/4, 1/8: the first two blocks, the middle flow, the end.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, 32)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = conv3x3(32, 64)
        self.bn2 = nn.BatchNorm2d(64)
        self.stages = nn.ModuleList(
            [
                nn.ModuleList([Down(64, 128, 128, stride=2)]),
                nn.ModuleList([Down(128, 256, 256, stride=2)]),
                nn.ModuleList([Down(256, 728, 728, stride=1), *(Middle(728) for _ in range(8))]),
                nn.ModuleList([Exit()]),
            ]
        )
        self.fc = nn.Linear(2048, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn1(self.conv1(x)))
        x = activated = F.relu(self.bn2(self.conv2(x)))
        stages: list[Tensor] = []
        preacts: list[Tensor] = []
        for stage in self.stages:
            for block in cast(Iterable[Down | Middle | Exit], stage):
                x = block(x, activated)
                activated = F.relu(x)
            stages.append(activated)
            preacts.append(x)
        pooled = activated.mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, tuple(stages), tuple(preacts))
