"""MobileNetV2 at half width, in CIFAR form.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks,
CVPR 2018 (table 2).

Choices. As the public benchmark of distillation has it: ReLU, not ReLU6; the stem and the fourth and
sixth groups halve the resolution; the first group keeps its 1x1 expansion although it does not
expand; the last convolution has 1280 channels whatever the width. Blocks end linearly, so what a
stage gives is also its ``preact``. A stage ends before the next one halves the resolution.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Gate, Output
from .resnet import conv1x1, conv3x3, initialise

# Expansion t, channels c at full width, blocks n, stride s: the groups of the paper's table, by stage.
STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 1)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


class InvertedResidual(nn.Module):
    """1x1 to ``expansion`` times the inputs, depthwise 3x3, linear 1x1; added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = expansion * inputs
        self.conv1 = conv1x1(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.gate = Gate(affine="bn3") if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        last: Tensor = self.bn3(self.conv3(branch))
        return last if self.gate is None else self.gate(last) + x


class MobileNetV2(nn.Module):
    """Stem, seven groups of inverted residuals in four stages, 1x1 convolution, pooling, linear.

    Args:
        classes: K.
        channels: C of the images.

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, 1280) and four stages at 1/2, 1/4,
    1/8, 1/16.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv = conv3x3(channels, 16, stride=2)
        self.bn = nn.BatchNorm2d(16)
        inputs = 16
        self.stages = nn.ModuleList()
        for groups in STAGES:
            layers = []
            for expansion, width, count, stride in groups:
                for i in range(count):
                    layers.append(InvertedResidual(inputs, width // 2, 1 if i else stride, expansion))
                    inputs = width // 2
            self.stages.append(nn.Sequential(*layers))
        self.conv_last = conv1x1(inputs, 1280)
        self.bn_last = nn.BatchNorm2d(1280)
        self.fc = nn.Linear(1280, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn(self.conv(x)))
        stages: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        x = F.relu(self.bn_last(self.conv_last(x)))
        pooled = x.mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, tuple(stages), tuple(stages))
