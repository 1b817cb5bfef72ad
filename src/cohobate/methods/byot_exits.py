"""BYOT's shallow classifiers (a bottleneck, optional attention and a linear layer), and their predictors.

Zhang et al., ICCV 2019; the losses, the symbols and the choices are in methods/byot.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Output, as_output
from ..core.options import Doc, checked
from . import group as peers

Size = tuple[int, int]
"""(H, W) of a map."""
Kind = Literal["dense", "separable"]

Bottleneck = Annotated[
    Kind,
    Doc(
        "Layers that bring a stage to the shape of the deepest one: dense, three convolutions; separable, "
        "pairs of depth-wise separable convolutions, each pair halving the map."
    ),
]
Attended = Annotated[
    bool, Doc("Multiply each stage by an attention map computed from it before the bottleneck.")
]


def bottleneck_of(
    channels: int, size: Size, target_channels: int, target_size: Size, kind: Kind = "dense"
) -> nn.Sequential:
    """Brings maps of one stage to the channels and the size of the deepest one.

    Args:
        channels, size: of the stage.
        target_channels, target_size: of the deepest stage.
        kind: ``dense``, three convolutions; ``separable``, as many pairs as there are halvings.

    Raises:
        ValueError: the map of the stage is smaller than the deepest one.
    """
    if size[0] < target_size[0] or size[1] < target_size[1]:
        raise ValueError(
            f"BYOT brings a stage down to the deepest one's size, but {size} is smaller than {target_size}"
        )
    make = _dense if kind == "dense" else _separable
    return nn.Sequential(*make(channels, size, target_channels, target_size))


def _dense(channels: int, size: Size, target_channels: int, target: Size) -> list[nn.Module]:
    middle = max(1, target_channels // 4)
    strides = size[0] // target[0], size[1] // target[1]
    # The kernel covers the stride and the remainder of the division, so that no position is skipped.
    kernel = size[0] - (target[0] - 1) * strides[0], size[1] - (target[1] - 1) * strides[1]
    return [
        *_normed(nn.Conv2d(channels, middle, 1, bias=False)),
        *_normed(nn.Conv2d(middle, middle, kernel, strides, bias=False)),
        *_normed(nn.Conv2d(middle, target_channels, 1, bias=False)),
    ]


def _separable(channels: int, size: Size, target_channels: int, target: Size) -> list[nn.Module]:
    height, width = size
    halvings = 0
    while (height, width) != target and -(-height // 2) >= target[0] and -(-width // 2) >= target[1]:
        height, width, halvings = -(-height // 2), -(-width // 2), halvings + 1
    strides = [2] * halvings or [1]
    # Doubled with each halving, as a network's own stages are.
    widths = [min(channels * 2**i, target_channels) for i in range(len(strides))]
    widths = [channels, *widths[1:], target_channels]
    pairs = zip(widths[:-1], widths[1:], strides, strict=True)
    layers = [layer for inputs, outputs, stride in pairs for layer in separable_pair(inputs, outputs, stride)]
    return layers if (height, width) == target else [*layers, nn.AdaptiveAvgPool2d(target)]


def separable_pair(channels: int, outputs: int, stride: int) -> list[nn.Module]:
    """Two depth-wise separable convolutions, of which the first strides, each with batch norm and ReLU."""
    return [
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        *_normed(nn.Conv2d(channels, channels, 1, bias=False)),
        nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
        *_normed(nn.Conv2d(channels, outputs, 1, bias=False)),
    ]


def _normed(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


class Attention(nn.Module):
    """A stage multiplied by a map that is computed from it at half its size.

    As in the author's code, a batch norm and a ReLU follow the separable convolutions, so that the map lies
    between one half and 1.

    Args:
        channels: of the stage.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers = separable_pair(channels, channels, 2)
        self.look = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, stage: Tensor) -> Tensor:
        size = stage.shape[2:]
        gate = F.interpolate(self.look(stage), size=size, mode="bilinear", align_corners=False)
        return stage * gate.sigmoid()


class Exit(nn.Module):
    """A shallow classifier: a stage -> an Output, whose only stage is the bottleneck's map.

    Args:
        channels, size: of the stage.
        target_channels, target_size: of the deepest stage.
        classes: K.
    """

    @checked
    def __init__(
        self,
        channels: int,
        size: Size,
        target_channels: int,
        target_size: Size,
        classes: int,
        *,
        bottleneck: Bottleneck,
        attention: Attended,
    ) -> None:
        super().__init__()
        self.attention = Attention(channels) if attention else nn.Identity()
        self.bottleneck = bottleneck_of(channels, size, target_channels, target_size, bottleneck)
        self.classifier = nn.Linear(target_channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, stage: Tensor) -> Output:
        features = self.bottleneck(self.attention(stage))
        pooled = features.mean(dim=(2, 3))
        return Output(self.classifier(pooled), pooled, (features,))


def exits_of(
    output: Output, classes: int, *, bottleneck: Bottleneck = "dense", attention: Attended = False
) -> list[Exit]:
    """An exit for every stage except the deepest.

    Args:
        output: of the network.
        classes: K.
        bottleneck, attention: of :class:`Exit`.

    Raises:
        ValueError: the network gives fewer than two stages, the deepest map is not the smallest, or there
            is no such bottleneck.
    """
    if len(output.stages) < 2:
        raise ValueError(
            f"BYOT needs a network of two stages or more, this one gives {len(output.stages)}; name its "
            "modules: cohobate.adapt(network, stages=[...])"
        )
    shapes = [(s.shape[1], (s.shape[2], s.shape[3])) for s in output.stages]
    deepest = shapes[-1]
    return [
        Exit(*shape, *deepest, classes, bottleneck=bottleneck, attention=attention) for shape in shapes[:-1]
    ]


class AtExit(nn.Module):
    """Images -> logits of one shallow classifier.

    Args:
        network: returns an Output with stages.
        exit: of one stage.
        stage: which one, from 0.
    """

    def __init__(self, network: nn.Module, exit: nn.Module, stage: int) -> None:
        super().__init__()
        self.network = network
        self.exit = exit
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.exit(as_output(self.network(x)).stages[self.stage]).logits
        return logits


class Ensemble(nn.Module):
    """Images -> mean logits of the deepest and all shallow classifiers.

    Args:
        network: returns an Output with stages.
        exits: one for each stage but the deepest.
    """

    def __init__(self, network: nn.Module, exits: nn.ModuleList) -> None:
        super().__init__()
        self.network = network
        self.exits = exits

    def forward(self, x: Tensor) -> Tensor:
        deepest, shallow = all_outputs(self.network, self.exits, x)
        return peers.stack_logits([deepest, *shallow]).mean(dim=0)


def all_outputs(network: nn.Module, exits: nn.ModuleList, x: Tensor) -> tuple[Output, list[Output]]:
    """Output of the network, and those of the shallow classifiers, shallow to deep.

    Raises:
        ValueError: the network has not one stage more than there are exits.
    """
    deepest = as_output(network(x))
    if len(deepest.stages) != len(exits) + 1:
        raise ValueError(
            f"BYOT has an exit for every stage but the deepest, got {len(exits)} for {len(deepest.stages)} "
            "stages; name the stages: cohobate.adapt(network, stages=[...])"
        )
    stages = deepest.stages[:-1]
    return deepest, [exit(stage) for exit, stage in zip(exits, stages, strict=True)]
