"""VGG with batch norm, in CIFAR form: five stages, no hidden linear layer.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.

Choices. As the public benchmark of distillation has it: 2x2 max pooling after stages 1, 2 and 3 only
(32x32 images give 32, 16, 8, 4, 4 pixels; the benchmark pools once more for 64x64 images, these
networks do not), average pooling and one linear layer at the end. Convolutions keep their bias,
which the batch norm behind them makes idle. A stage is read before it is pooled. With ``taps`` "benchmark"
the first stage is none, as there: it counts as the stem.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Output, Taps
from .resnet import initialise

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, average pooling, linear.

    Args:
        convolutions: of each stage.
        classes: K.
        channels: C of the images.

    Attributes:
        taps: what it returns as stages (:func:`cohobate.models.taps.read_taps`).

    Shapes: (B, C, H, W) -> Output with logits (B, K), pooled (B, 512) and five stages at 1, 1/2, 1/4,
    1/8, 1/8.
    """

    taps: Taps = "stages"

    def __init__(self, convolutions: tuple[int, ...], classes: int, channels: int = 3) -> None:
        super().__init__()
        if len(convolutions) != len(WIDTHS):
            raise ValueError(f"a VGG has {len(WIDTHS)} stages, got convolutions {convolutions}")
        inputs = channels
        self.stages = nn.ModuleList()
        for width, count in zip(WIDTHS, convolutions, strict=True):
            layers: list[nn.Module] = []
            for _ in range(count):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            # The last ReLU is the network's: a stage returns what is before it.
            self.stages.append(nn.Sequential(*layers[:-1]))
        self.fc = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Output:
        stages: list[Tensor] = []
        preacts: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            preacts.append(stage(F.max_pool2d(x, 2) if 1 <= number <= 3 else x))
            x = F.relu(preacts[-1])
            stages.append(x)
        pooled = x.mean(dim=(2, 3))
        first = 1 if self.taps == "benchmark" else 0
        return Output(self.fc(pooled), pooled, tuple(stages[first:]), tuple(preacts[first:]))
