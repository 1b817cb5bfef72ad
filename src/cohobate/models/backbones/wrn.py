"""Wide residual networks, WRN-depth-width.

Zagoruyko, Komodakis: Wide Residual Networks, BMVC 2016.

Choices. Pre-activation blocks; a block that changes shape shortcuts the activated input through a
1x1 convolution, the others the raw one. A stage is read as the next stage sees it: after the batch
norm and ReLU that open the next stage, each computed once. With ``taps`` "benchmark" it is the raw sum
before them, as in the public benchmark of distillation; ``preacts`` are what that batch norm gives in both.

Order ``frskd`` is that of the public code of Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching
Myself, CVPR 2021: blocks open with a ReLU alone, and each stage ends with a batch norm. The block
that opens a later stage takes all it sees from that batch norm, so there it is the block's ``bn1``,
and every other ``bn1`` is the identity. (The public code has 256 more parameters that nothing uses.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Gate, Output, Taps
from .resnet import conv1x1, conv3x3, initialise, one_of

Order = Literal["standard", "frskd"]


class Wide(nn.Module):
    """Batch norm, ReLU, 3x3 convolution, twice. ``bn1`` (here ``norm``) is applied by the network."""

    def __init__(self, inputs: int, width: int, stride: int, norm: nn.Module) -> None:
        super().__init__()
        self.bn1 = norm
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.gate = Gate(affine="conv2")
        self.shortcut = None if inputs == width and stride == 1 else conv1x1(inputs, width, stride)

    def forward(self, x: Tensor, activated: Tensor) -> Tensor:
        branch = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(activated)
        gated: Tensor = self.gate(branch)
        return gated + shortcut


class WideResNet(nn.Module):
    """Stem, three stages of (depth - 4) / 6 blocks, batch norm, average pooling, linear.

    Args:
        depth: 6n + 4.
        width: factor on 16, 32, 64 channels.
        classes: K.
        order: of the batch norms: ``standard`` (each block opens with one) or ``frskd`` (each stage
            ends with one).
        channels: C of the images.

    Attributes:
        taps: what it returns as stages (:func:`cohobate.models.taps.read_taps`).

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, 64 width) and three stages at
    1, 1/2, 1/4.
    """

    taps: Taps = "stages"

    def __init__(
        self, depth: int, width: int, classes: int, order: Order = "standard", channels: int = 3
    ) -> None:
        super().__init__()
        if (depth - 4) % 6:
            raise ValueError(f"the depth of a wide ResNet is 6n + 4 (16, 22, 28, 40), got {depth}")
        one_of("order", order, Order)
        self.conv = conv3x3(channels, 16)
        inputs = 16
        self.stages = nn.ModuleList()
        for stage, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            layers = nn.ModuleList()
            for i in range((depth - 4) // 6):
                opens = stage > 0 and i == 0
                norm = nn.BatchNorm2d(inputs) if opens or order == "standard" else nn.Identity()
                layers.append(Wide(inputs, outputs, stride=2 if opens else 1, norm=norm))
                inputs = outputs
            self.stages.append(layers)
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        x = self.conv(x)
        raw = self.taps == "benchmark"
        stages: list[Tensor] = []
        preacts: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            for i, block in enumerate(cast(Iterable[Wide], stage)):
                preact = block.bn1(x)
                activated = F.relu(preact)
                if number > 0 and i == 0:
                    stages.append(x if raw else activated)
                    preacts.append(preact)
                x = block(x, activated)
        preact = self.bn(x)
        activated = F.relu(preact)
        pooled = activated.mean(dim=(2, 3))
        last = x if raw else activated
        return Output(self.fc(pooled), pooled, (*stages, last), (*preacts, preact))
