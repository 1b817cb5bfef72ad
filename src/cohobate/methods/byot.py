"""BYOT: classifiers at the shallow stages learn from the deepest one.

Zhang, Song, Gao, Chen, Bao, Ma: Be Your Own Teacher: Improve the Performance of Convolutional Neural
Networks via Self Distillation, ICCV 2019.

    q^C, F_C    network         prediction and last map of the deepest classifier
    q^i, F_i    exits           of shallow classifier i: bottleneck, pooling, a linear layer
    alpha       alpha           share of the soft loss in what a shallow classifier learns
    lambda      beta            factor of the hint
    T           temperature     of the softmax
    1           Loss Source 1   cross-entropy: 1 - alpha for the shallow ones, 1 for the deepest
    2           Loss Source 2   alpha KL(q^C || q^i)
    3           Loss Source 3   lambda || F_i - F_C ||^2

Choices. The paper prints the three losses and no values; its public codes disagree. The default is the
paper's form, with the values of the author's code where they fit that form:

    option              default     author's code, journal  luanyunteng's code  Self-KD-Lib
    alpha               0.3         0.3                     0.1                 1
    ce_weight           1 - alpha   1 - alpha (0.7)         1 - alpha (0.9)     1
    deepest_weight      1           1                       0.9                 1
    temperature         3           3                       3                   4
    scaled (by T^2)     no          no                      yes                 yes
    hint_at             map         linear                  pooled              map
    hint                squared     norm                    sum                 mean
    beta                1.28e-4     0.03                    1e-6                0.05
    unhinted            none        the last one            none                none
    bottleneck          dense       separable               dense               (residual stages)
    attention           no          yes                     no                  no
    deployed            deepest     ensemble                deepest             deepest
    epochs              -           250                     200                 200
    learning rate / 10  -           1/3, 2/3, 10 left       75, 130, 180        100, 150
    augmentation        -           AutoAugment, Cutout     flip, crop          flip, crop

    The author's code trains with ``--autoaugment cifar --cutout 16``. All have SGD, 128 images a step,
        learning rate 0.1 and weight decay 5e-4; Self-KD-Lib alone has Nesterov's form and a warm-up.
    Gradients: q^C and F_C are constants for the shallow classifiers, in every code; the deepest learns from
        labels only, as in the paper, but what it shares with the shallow ones learns from all.
    Soft loss: KL where two codes have the cross-entropy with q^C; they differ by a constant.
    T^2: not printed, so not the default.
    Hint: ``squared`` sums over channels and averages over images and positions: as printed but for the number
        of positions, which lambda would have to undo on larger maps. Its weight is that of luanyunteng's
        code for one image (1e-6, summed over 128 images). That code leaves out features that are not positive
        on either side; after a ReLU those are equal anyway.
    Linear: the author's code compares W F_i with F_C, both pooled. It leaves one classifier without the hint,
        the deepest of the shallow ones, where its comment says the shallowest (``unhinted=(3,)`` of three).
    Bottleneck: 1x1 convolution to a quarter of the deepest channels, one that strides down to the deepest
        size, 1x1 to its channels, batch norm and ReLU after each; biases before batch norm are left
        out. ``separable``: pairs of depth-wise separable convolutions, each pair halving the map.
        ``attention``: the stage is first multiplied by a map of its own, from half its size.
    Ensemble: the mean of all classifiers' logits (not softened), as in the author's code.
    Exits compute the whole network and throw away what is deeper than they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, Output, as_output, cross_entropy, float32
from . import group as peers
from .kd import softened_kl
from .matching import require_same

BETA = 1.28e-4
"""Weight of the hint: 1e-6 for an image in a sum over 128 of them."""

Size = tuple[int, int]
"""(H, W) of a map."""
Kind = Literal["dense", "separable"]
Place = Literal["map", "pooled", "linear"]
Reduction = Literal["squared", "mean", "sum", "norm"]


@float32
def hint_loss(student: Tensor, teacher: Tensor, reduction: Reduction = "squared") -> Tensor:
    """Distance of two features; the caller detaches the teacher.

    Args:
        student: (B, C) or (B, C, H, W).
        teacher: the same shape.
        reduction: of the squared differences: ``squared`` their sum over channels, averaged over the rest;
            ``mean`` the mean of all; ``sum`` the sum of all; ``norm`` the square root of that.

    Raises:
        ValueError: the shapes differ, or an unknown reduction.
    """
    one_of("hint", reduction, Reduction)
    require_same(student, teacher, "BYOT", "a bottleneck brings a stage to the deepest one's shape")
    if reduction == "norm":
        norm: Tensor = torch.linalg.vector_norm(student - teacher)
        return norm
    total = (student - teacher).square().sum()  # Loss Source 3
    if reduction == "squared":
        return total * (student.shape[1] / student.numel())
    return total / student.numel() if reduction == "mean" else total


# ---------------------------------------------------------------- parts


def bottleneck(
    channels: int, size: Size, target_channels: int, target_size: Size, kind: Kind = "dense"
) -> nn.Sequential:
    """Brings maps of one stage to the channels and the size of the deepest one.

    Args:
        channels, size: of the stage.
        target_channels, target_size: of the deepest stage.
        kind: ``dense``, three convolutions; ``separable``, as many pairs as there are halvings.

    Raises:
        ValueError: the deepest map is the larger one, or an unknown kind.
    """
    one_of("bottleneck", kind, Kind)
    if size[0] < target_size[0] or size[1] < target_size[1]:
        raise ValueError(
            f"BYOT brings a stage down to the deepest one's size, but {size} is smaller than {target_size}"
        )
    make = _dense if kind == "dense" else _separable
    return nn.Sequential(*make(channels, size, target_channels, target_size))


def _dense(channels: int, size: Size, target_channels: int, target: Size) -> list[nn.Module]:
    middle = max(1, target_channels // 4)
    strides = size[0] // target[0], size[1] // target[1]
    # As wide as the stride, or wider by what is left over, so that no position is skipped.
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
    """A stage multiplied by a map between 0 and 1 that is computed from it at half its size.

    Args:
        channels: of the stage.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Sequential(*separable_pair(channels, channels, 2))

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
        kind: of the bottleneck.
        attention: whether the stage is first multiplied by an attention map.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        target_channels: int,
        target_size: Size,
        classes: int,
        kind: Kind = "dense",
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.attention = Attention(channels) if attention else nn.Identity()
        self.bottleneck = bottleneck(channels, size, target_channels, target_size, kind)
        self.classifier = nn.Linear(target_channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, stage: Tensor) -> Output:
        features = self.bottleneck(self.attention(stage))
        pooled = features.mean(dim=(2, 3))
        return Output(self.classifier(pooled), pooled, (features,))


def exits_of(output: Output, classes: int, kind: Kind = "dense", attention: bool = False) -> list[Exit]:
    """An exit for every stage but the deepest.

    Args:
        output: what the network gives.
        classes: K.
        kind, attention: of :class:`Exit`.

    Raises:
        ValueError: the network gives fewer than two stages, or the deepest map is not the smallest.
    """
    if len(output.stages) < 2:
        raise ValueError(
            f"BYOT needs a network of two stages or more, this one gives {len(output.stages)}; name its "
            "modules: cohobate.adapt(network, stages=[...])"
        )
    shapes = [(s.shape[1], (s.shape[2], s.shape[3])) for s in output.stages]
    deepest = shapes[-1]
    return [Exit(*shape, *deepest, classes, kind, attention) for shape in shapes[:-1]]


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
    """What the network gives, and what each shallow classifier gives, shallow to deep.

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


# ---------------------------------------------------------------- the method


class BYOT(Method):
    """Shallow classifiers learn from labels, from the deepest prediction, and from the deepest features.

    Terms: ``ce`` of the deepest classifier; summed over the shallow ones ``ce_exits``, ``kl_exits`` and,
    where beta is not 0, ``hint_exits``.

    Args:
        network: returns an Output with two stages or more.
        exits: a shallow classifier for every stage but the deepest, shallow to deep (:func:`exits_of`).
        alpha: factor of the soft loss.
        beta: factor of the hint.
        temperature: T > 0.
        scaled: whether the soft loss is multiplied by T^2.
        hint_at: what the hint compares: the maps, pooled features, or pooled features of which the shallow
            one goes through a linear layer.
        hint: how a distance becomes a number (:func:`hint_loss`).
        unhinted: shallow classifiers without a hint, numbered from 1.
        ce_weight: factor of the shallow cross-entropy; None for 1 - alpha.
        deepest_weight: factor of the deepest one.

    Raises:
        ValueError: no exit, an exit that is not there, an argument out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        exits: Sequence[Exit],
        alpha: float = 0.3,
        beta: float = BETA,
        temperature: float = 3.0,
        scaled: bool = False,
        hint_at: Place = "map",
        hint: Reduction = "squared",
        unhinted: Sequence[int] = (),
        ce_weight: float | None = None,
        deepest_weight: float = 1.0,
    ) -> None:
        super().__init__()
        _check(exits, alpha, unhinted, ce_weight)
        one_of("hint_at", hint_at, Place)
        one_of("hint", hint, Reduction)
        peers.check(temperature, beta=beta, deepest_weight=deepest_weight)
        self.network = network
        self.exits = nn.ModuleList(exits)
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.scaled = scaled
        self.hint_at = hint_at
        self.hint = hint
        self.hinted = [i for i in range(len(exits)) if i + 1 not in unhinted] if beta else []
        self.ce_weight = 1 - alpha if ce_weight is None else ce_weight
        self.deepest_weight = deepest_weight
        width = exits[0].classifier.in_features
        linear = [nn.Linear(width, width) for _ in self.hinted if hint_at == "linear"]
        self.adapters = nn.ModuleList(linear or [nn.Identity() for _ in self.hinted])

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        deepest, shallow = all_outputs(self.network, self.exits, batch.x)
        logits = peers.stack_logits([deepest, *shallow])
        target = logits[0].detach()
        kl = self._summed_kl(logits[1:], target)
        losses = {
            "ce": self.deepest_weight * cross_entropy(logits[0], batch.y),  # Loss Source 1
            "ce_exits": self.ce_weight * peers.summed_cross_entropy(logits[1:], batch.y),
            "kl_exits": self.alpha * kl,  # Loss Source 2
        }
        if self.hinted:
            losses["hint_exits"] = self.beta * self._hints(shallow, deepest.stages[-1].detach())
        return losses

    def _summed_kl(self, logits: Tensor, target: Tensor) -> Tensor:
        both = logits.flatten(0, 1), target.expand_as(logits).flatten(0, 1)
        scale = 1.0 if self.scaled else self.temperature**-2
        return len(logits) * scale * softened_kl(*both, temperature=self.temperature)

    def _hints(self, shallow: Sequence[Output], deepest: Tensor) -> Tensor:
        at_map = self.hint_at == "map"
        target = deepest if at_map else deepest.mean(dim=(2, 3))
        features = [shallow[i].stages[-1] if at_map else shallow[i].pooled for i in self.hinted]
        pairs = zip(self.adapters, features, strict=True)
        return torch.stack([hint_loss(adapt(f), target, self.hint) for adapt, f in pairs]).sum()

    def predictors(self) -> dict[str, nn.Module]:
        exits = {name: AtExit(self.network, self.exits[i], i) for i, name in enumerate(self._names())}
        return {"network": Classifier(self.network), **exits, "ensemble": Ensemble(self.network, self.exits)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        deepest, shallow = all_outputs(self.network, self.exits, x)
        exits = {name: output.logits for name, output in zip(self._names(), shallow, strict=True)}
        ensemble = peers.stack_logits([deepest, *shallow]).mean(dim=0)
        return {"network": deepest.logits, **exits, "ensemble": ensemble}

    def _names(self) -> list[str]:
        return [f"exit_{i}" for i in range(1, len(self.exits) + 1)]


def one_of(option: str, value: object, kind: Any) -> None:
    """Raise a ValueError for a value that the Literal ``kind`` does not have."""
    if value not in get_args(kind):
        raise ValueError(f"{option} must be one of {', '.join(get_args(kind))}, got {value!r}")


def _check(
    exits: Sequence[nn.Module], alpha: float, unhinted: Sequence[int], ce_weight: float | None
) -> None:
    if not exits:
        raise ValueError("BYOT needs a shallow classifier, so a network of two stages or more")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha, the share of the soft loss, must lie in [0, 1], got {alpha}")
    if not set(unhinted) <= set(range(1, len(exits) + 1)):
        raise ValueError(f"unhinted names exits from 1 to {len(exits)}, got {tuple(unhinted)}")
    if ce_weight is not None:
        peers.check(1.0, ce_weight=ce_weight)
