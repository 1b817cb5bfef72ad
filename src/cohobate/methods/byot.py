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

Choices. The paper prints the three losses but no values, and its public codes differ. The default is the
form in the paper, with the values of the author's code where they apply to it:

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
    Gradients: q^C and F_C are constants for the shallow classifiers, in every code; the deepest classifier
        learns from labels only, as in the paper, while the stages that it shares with the shallow ones get
        gradients from all losses.
    Soft loss: KL, while two of the codes have the cross-entropy with q^C; the two differ by a constant.
    T^2: not printed, so not the default.
    Hint: ``squared`` sums over channels and averages over images and positions. This is as printed except for
        the division by the number of positions, without which lambda would depend on the size of the map. Its
        weight is that of luanyunteng's code for one image (1e-6, summed over 128 images). That code leaves
        out features that are not positive in both maps; after a ReLU these are equal anyway.
    Linear: the author's code compares W F_i with F_C, both pooled. It omits the hint of one classifier, the
        deepest of the shallow ones, although its comment says the shallowest (``unhinted=(3,)`` of three).
    Bottleneck: 1x1 convolution to a quarter of the deepest channels, one that strides down to the deepest
        size, 1x1 to its channels, batch norm and ReLU after each; biases before batch norm are left
        out. ``separable``: pairs of depth-wise separable convolutions, each pair halving the map.
        ``attention``: the stage is first multiplied by a map of its own, from half its size: such a pair
        of convolutions, then once more batch norm and ReLU, bilinear interpolation and a sigmoid.
    Ensemble: the mean of all classifiers' logits (not softened), as in the author's code.
    Predictors of exits run the whole network and discard the stages deeper than the exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Given, Method, Output, cross_entropy, float32
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Temperature, checked
from . import group as peers
from .byot_exits import AtExit, Attended, Bottleneck, Ensemble, Exit, all_outputs, exits_of
from .kd import softened_kl
from .matching import require_same

BETA = 1.28e-4
"""Weight of the hint: 128 times 1e-6, the weight of a sum over 128 images."""

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
        ValueError: the shapes differ.
    """
    require_same(student, teacher, "BYOT", "a bottleneck brings a stage to the deepest one's shape")
    if reduction == "norm":
        norm: Tensor = torch.linalg.vector_norm(student - teacher)
        return norm
    total = (student - teacher).square().sum()  # Loss Source 3
    if reduction == "squared":
        return total * (student.shape[1] / student.numel())
    return total / student.numel() if reduction == "mean" else total


class BYOT(Method):
    """Shallow classifiers learn from the deepest one (Zhang et al., 2019).

    They learn from the labels, from the deepest prediction, and from the deepest features.
    Terms: ``ce`` of the deepest classifier; summed over the shallow ones ``ce_exits``, ``kl_exits`` and,
    where beta is not 0, ``hint_exits``.

    Args:
        network: returns an Output with two stages or more.
        exits: a shallow classifier for every stage but the deepest, shallow to deep
            (:func:`.byot_exits.exits_of`).

    Raises:
        ValueError: no exit; ``unhinted`` names an exit that does not exist; an option is out of range.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        exits: Sequence[Exit],
        *,
        alpha: Annotated[
            float, Ge(0), Le(1), Doc("alpha, share of the KL term in the loss of the shallow classifiers.")
        ] = 0.3,
        beta: Annotated[float, Ge(0), Doc("lambda, factor of the hint loss.")] = BETA,
        temperature: Temperature = 3.0,
        scaled: Annotated[bool, Doc("Multiply the KL term by T^2.")] = False,
        hint_at: Annotated[
            Place,
            Doc(
                "What the hint compares: feature maps, pooled features, or pooled features after a linear "
                "layer."
            ),
        ] = "map",
        hint: Annotated[
            Reduction,
            Doc(
                "Squared differences of the hint: squared, summed over channels and averaged over images "
                "and positions; mean, averaged over all; sum, summed over all; norm, the root of that sum."
            ),
        ] = "squared",
        unhinted: Annotated[
            tuple[int, ...], Doc("Shallow classifiers that get no hint, numbered from 1; by default none.")
        ] = (),
        ce_weight: Annotated[
            float | None, Ge(0), Doc("Factor of the shallow classifiers' cross-entropy; none: 1 - alpha.")
        ] = None,
        deepest_weight: Annotated[
            float, Ge(0), Doc("Factor of the deepest classifier's cross-entropy.")
        ] = 1.0,
    ) -> None:
        super().__init__()
        _check(exits, unhinted)
        self.network = network
        self.exits = nn.ModuleList(exits)
        self.alpha = alpha
        self.beta = beta
        self.temperature = Course.of(temperature)
        self.scaled = scaled
        self.hint_at = hint_at
        self.hint = hint
        self.hinted = [i for i in range(len(exits)) if i + 1 not in unhinted] if beta else []
        self.ce_weight = 1 - alpha if ce_weight is None else ce_weight
        self.deepest_weight = deepest_weight
        width = exits[0].classifier.in_features
        linear = [nn.Linear(width, width) for _ in self.hinted if hint_at == "linear"]
        self.adapters = nn.ModuleList(linear or [nn.Identity() for _ in self.hinted])

    @classmethod
    def of(
        cls,
        given: Given,
        *,
        bottleneck: Bottleneck = "dense",
        attention: Attended = False,
        **options: Any,
    ) -> Self:
        """Build the method with a shallow classifier for every stage except the deepest."""
        network = given.network()
        output = given.look(network)
        exits = exits_of(output, given.classes, bottleneck=bottleneck, attention=attention)
        return cls(network, exits, **options)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        deepest, shallow = all_outputs(self.network, self.exits, batch.x)
        logits = peers.stack_logits([deepest, *shallow])
        target = logits[0].detach()
        temperature = now(self.temperature, batch, "the temperature of BYOT")
        kl = self._summed_kl(logits[1:], target, temperature)
        losses = {
            "ce": self.deepest_weight * cross_entropy(logits[0], batch.y),  # Loss Source 1
            "ce_exits": self.ce_weight * peers.summed_cross_entropy(logits[1:], batch.y),
            "kl_exits": self.alpha * kl,  # Loss Source 2
        }
        if self.hinted:
            losses["hint_exits"] = self.beta * self._hints(shallow, deepest.stages[-1].detach())
        return losses

    def _summed_kl(self, logits: Tensor, target: Tensor, temperature: float | Tensor) -> Tensor:
        both = logits.flatten(0, 1), target.expand_as(logits).flatten(0, 1)
        scale = 1.0 if self.scaled else temperature**-2
        return len(logits) * scale * softened_kl(*both, temperature=temperature)

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


def _check(exits: Sequence[nn.Module], unhinted: Sequence[int]) -> None:
    if not exits:
        raise ValueError("BYOT needs a shallow classifier, so a network of two stages or more")
    if not set(unhinted) <= set(range(1, len(exits) + 1)):
        raise ValueError(f"unhinted names exits from 1 to {len(exits)}, got {tuple(unhinted)}")
