"""ShuffleNets in CIFAR form: cheap 1x1 convolutions, channels shuffled in between.

Zhang, Zhou, Lin, Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices, CVPR 2018. Ma, Zhang, Zheng, Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN
Architecture Design, ECCV 2018.

Choices. As the public benchmark of distillation has it: a 1x1 stem at full resolution and no pooling
before the end (``stem="3x3"`` is the other CIFAR form of V2), three stages that each halve the
resolution; in V1, 3 groups and a ReLU after the depthwise convolution too. What V2 passes by a unit
has had its ReLU, so one ReLU at the unit's end, after the shuffle, is the paper's; it is where
``preact`` is read. No residual is added in V2, hence no gates; in V1 the units that keep the
resolution add theirs.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Gate, Output
from .resnet import conv1x1, conv3x3, initialise, one_of, walk

Stem = Literal["1x1", "3x3"]
STEM = 24


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel i of group g goes to place ``i * groups + g``: (B, C, H, W) -> (B, C, H, W)."""
    grouped: Tensor = x.unflatten(1, (groups, -1))
    return grouped.transpose(1, 2).flatten(1, 2)


class GroupedUnit(nn.Module):
    """Unit of V1: grouped 1x1, shuffle, depthwise 3x3, grouped 1x1.

    Stride 1 adds the input. Stride 2 appends the pooled input, so that its convolutions make only
    ``outputs - inputs`` channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 3) -> None:
        super().__init__()
        self.outputs = outputs
        # The few channels of the stem are not cut into groups.
        self.groups = 1 if inputs == STEM else groups
        branch = outputs if stride == 1 else outputs - inputs
        width = branch // 4
        self.conv1 = conv1x1(inputs, width, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, branch, groups=groups)
        self.bn3 = nn.BatchNorm2d(branch)
        self.gate = Gate(affine="bn3") if stride == 1 else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        branch = shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        if self.gate is None:
            preact = torch.cat([branch, F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1)
        else:
            preact = self.gate(branch) + x
        return F.relu(preact), preact


class SplitUnit(nn.Module):
    """Basic unit of V2: half of the channels pass by, half go through 1x1, depthwise 3x3, 1x1."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        width = outputs // 2
        self.conv1 = conv1x1(width, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, width)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        passing, branch = x.chunk(2, dim=1)
        branch = F.relu(self.bn1(self.conv1(branch)))
        branch = self.bn2(self.conv2(branch))
        branch = self.bn3(self.conv3(branch))
        preact = shuffle(torch.cat([passing, branch], dim=1), 2)
        return F.relu(preact), preact


class DownUnit(nn.Module):
    """Unit of V2 that halves the resolution: all channels go both ways."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        width = outputs // 2
        self.conv1 = conv3x3(inputs, inputs, stride=2, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = conv1x1(inputs, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(inputs, width)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv4 = conv3x3(width, width, stride=2, groups=width)
        self.bn4 = nn.BatchNorm2d(width)
        self.conv5 = conv1x1(width, width)
        self.bn5 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        left = self.bn1(self.conv1(x))
        left = self.bn2(self.conv2(left))
        right = F.relu(self.bn3(self.conv3(x)))
        right = self.bn4(self.conv4(right))
        right = self.bn5(self.conv5(right))
        preact = shuffle(torch.cat([left, right], dim=1), 2)
        return F.relu(preact), preact


class ShuffleNetV1(nn.Module):
    """Stem, three stages of grouped units, average pooling, linear.

    Args:
        classes: K.
        channels: C of the images.

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, 960) and three stages at 1/2, 1/4,
    1/8.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv = conv1x1(channels, STEM)
        self.bn = nn.BatchNorm2d(STEM)
        inputs = STEM
        self.stages = nn.ModuleList()
        for outputs, count in ((240, 4), (480, 8), (960, 4)):
            units = [GroupedUnit(inputs, outputs, stride=2)]
            units += [GroupedUnit(outputs, outputs, stride=1) for _ in range(count - 1)]
            self.stages.append(nn.ModuleList(units))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn(self.conv(x)))
        stages, preacts = walk(self.stages, x)
        pooled = stages[-1].mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, stages, preacts)


class ShuffleNetV2(nn.Module):
    """Stem, three stages of one down unit and basic units, 1x1 convolution, average pooling, linear.

    Args:
        classes: K.
        stem: kernel of the first convolution.
        channels: C of the images.

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, 1024) and three stages at 1/2, 1/4,
    1/8.
    """

    def __init__(self, classes: int, stem: Stem = "1x1", channels: int = 3) -> None:
        super().__init__()
        one_of("stem", stem, Stem)
        self.conv = conv1x1(channels, STEM) if stem == "1x1" else conv3x3(channels, STEM)
        self.bn = nn.BatchNorm2d(STEM)
        inputs = STEM
        self.stages = nn.ModuleList()
        for outputs, count in ((116, 3), (232, 7), (464, 3)):
            units = [DownUnit(inputs, outputs), *(SplitUnit(outputs) for _ in range(count))]
            self.stages.append(nn.ModuleList(units))
            inputs = outputs
        self.conv_last = conv1x1(inputs, 1024)
        self.bn_last = nn.BatchNorm2d(1024)
        self.fc = nn.Linear(1024, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn(self.conv(x)))
        stages, preacts = walk(self.stages, x)
        x = F.relu(self.bn_last(self.conv_last(stages[-1])))
        pooled = x.mean(dim=(2, 3))
        return Output(self.fc(pooled), pooled, stages, preacts)
