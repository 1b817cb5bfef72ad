"""FFM + CD: a fusion module weighs the branches, and a loss diversifies their classifiers.

Li, Huang, Chen, Luo, Cai, Pan: Online Knowledge Distillation via Multi-branch Diversity Enhancement,
ACCV 2020.

    s_i         stages[-1]      feature map of the last block of branch i
    f_i         FeatureFusion   importance of branch i for an image; they sum to 1
    t_e         targets         what the auxiliary branches learn from (in :class:`TwoLevel`)
    W_i         classifiers     weight of the last layer of branch i, (K, D)
    gamma       gamma           weight of L_cd
    alpha, beta                 of eqs. 6 to 8: :class:`cohobate.methods.okddip.TwoLevel`

The method is ``Diversified(TwoLevel(group, FeatureFusion(...), alpha=1, beta=2), classifiers)``.

Choices.
    FFM: two 3x3 convolutions, batch norm and ReLU after each, average pooling, a linear layer and softmax.
        The paper gives neither the number of convolutions nor their widths: by default the channels of one
        branch, at most 128.
    |W_i^T W_j| of eq. 5: the product is a matrix, and the paper does not define the bars.
        ``product="classes"`` (default): inner products over the features of every class of one classifier
            with every class of the other, as in tri-training, which eq. 5 follows: zero for classifiers on
            disjoint features. ``"features"``: the D x D matrix. ``"outer"``: all products of the flattened
            weights, L1(W_i) L1(W_j): the only one whose size fits the printed range of gamma (0.048 at
            5e-8, 95 at 1e-4 for ResNet-32 on CIFAR-100), but a penalty without a cross term.
        ``norm="sum"`` (default) of the absolute entries; ``"mean"`` of them; ``"frobenius"``.
        Weights only, no bias.
    gamma: 5e-8, as printed, with ``outer``; with another reading the gamma of :func:`matched_gamma`, for
        which the initial value of the term is the same. With 5e-8 it would be at most 1e-4 of the loss. It
        depends on the initial weights: a run records it, and a comparison computes it once, with its first
        seed.
    Pairs: of all classifiers including the leader's, as the sum is printed; ``pairs="peers"``: without it.
    Symbols of eqs. 6 to 8, gradients, leader: see okddip.py. Public code: there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor, nn

from ..core import Batch, Frozen, Method, Output, float32
from ..core.options import Doc, Ge, MinLen, checked
from .one import importance

Product = Literal["classes", "features", "outer"]
Norm = Literal["sum", "mean", "frobenius"]
WIDEST = 128
"""Largest default width of the fusion module, in channels."""


class FeatureFusion(nn.Module):
    """f of eq. 4: weights of the branches from all their last feature maps.

    Args:
        channels: of one branch's map.
        peers: auxiliary branches, m - 1.

    Shapes: Outputs with stages[-1] (B, channels, H, W) -> (B, 1, m - 1), summing to 1.

    Raises:
        ValueError: no width, or one below 1; when it runs, maps of other channels or sizes.
    """

    @checked
    def __init__(
        self,
        channels: int,
        peers: int,
        *,
        widths: Annotated[
            tuple[Annotated[int, Ge(1)], ...] | None,
            MinLen(1),
            Doc(
                "Channels of each 3x3 convolution of the fusion module; none: two convolutions with the "
                "channels of a branch, 128 at most."
            ),
        ] = None,
    ) -> None:
        super().__init__()
        widths = (min(channels, WIDEST),) * 2 if widths is None else tuple(widths)
        self.channels = channels
        layers: list[nn.Module] = []
        for inputs, outputs in zip((channels * peers, *widths), widths, strict=False):
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
        self.block = nn.Sequential(*layers)
        self.fc = nn.Linear(widths[-1], peers)

    def forward(self, peers: Sequence[Output]) -> Tensor:
        maps = [peer.stages[-1] for peer in peers]
        sizes = {tuple(each.shape[1:]) for each in maps}
        if len(sizes) > 1 or maps[0].shape[1] != self.channels:
            raise ValueError(
                f"the fusion module takes maps of {self.channels} channels and one size, got {sizes}"
            )
        fused = self.block(torch.cat(maps, dim=1)).mean(dim=(2, 3))
        return importance(self.fc(fused))  # Eq. 4, f_i


@float32
def classifier_diversity(weights: Tensor, product: Product = "classes", norm: Norm = "sum") -> Tensor:
    """L_cd (eq. 5): the similarity of the classifiers, summed over all pairs; smaller is more diverse.

    Args:
        weights: (m, K, D), of m classifiers.
        product: the product of two weights (see Choices above).
        norm: the norm of that product.

    Raises:
        ValueError: fewer than two classifiers, or an unknown reading.
    """
    check_readings(len(weights), product, norm)
    pairs = list(combinations(range(len(weights)), 2))
    one = torch.stack([weights[i] for i, _ in pairs])
    two = torch.stack([weights[j] for _, j in pairs])
    if product == "outer":
        sizes = _size(one, norm) * _size(two, norm)
    else:
        sizes = _size(one @ two.mT if product == "classes" else one.mT @ two, norm)
    return sizes.sum()  # Eq. 5


def _size(matrices: Tensor, norm: Norm) -> Tensor:
    """(P, ., .) -> (P,)."""
    if norm == "frobenius":
        sizes: Tensor = torch.linalg.vector_norm(matrices, dim=(1, 2))
        return sizes
    return matrices.abs().sum(dim=(1, 2)) if norm == "sum" else matrices.abs().mean(dim=(1, 2))


def matched_gamma(
    classifiers: Sequence[nn.Module], product: Product = "classes", norm: Norm = "sum", printed: float = 5e-8
) -> float:
    """The gamma for which L_cd has the initial value that the printed one gives with ``outer`` and ``sum``.

    Args:
        classifiers: as for :class:`Diversified`, with their initial weights.
        product, norm: the reading of eq. 5.
        printed: gamma of the paper.

    Raises:
        ValueError: as :class:`Diversified`.
    """
    weights = stacked(classifiers).detach()
    fits = classifier_diversity(weights, "outer", "sum")
    return printed * float(fits / classifier_diversity(weights, product, norm))


class Diversified(Method):
    """Adds the term ``cd``, gamma L_cd (eq. 5), to a method that trains several networks together.

    Args:
        method: owns the networks.
        classifiers: their last layers, the leader's first, modules of ``method``: linear, or 1x1
            convolutions.

    Attributes:
        gamma: the weight as a number, also where the option is None.
        matched: whether the option is None, so that gamma was computed.

    Raises:
        ValueError: a classifier is not the method's, has no weight or another shape than the first; fewer
            than two; an option is out of range.
    """

    @checked
    def __init__(
        self,
        method: Method,
        classifiers: Sequence[nn.Module],
        *,
        gamma: Annotated[
            float | None,
            Ge(0),
            Doc(
                "gamma, weight of the CD loss; none: the weight that makes it as large at the start as 5e-8 "
                "does with --product outer."
            ),
        ] = None,
        product: Annotated[
            Product,
            Doc(
                "Reading of |W_i^T W_j| in eq. 5: inner products of the classes' weights, the matrix over "
                "features, or all products of the flattened weights."
            ),
        ] = "classes",
        norm: Annotated[
            Norm,
            Doc(
                "Number that stands for the matrix |W_i^T W_j| in eq. 5: the sum or the mean of its absolute "
                "entries, or its Frobenius norm."
            ),
        ] = "sum",
        pairs: Annotated[
            Literal["all", "peers"],
            Doc("Classifiers that eq. 5 compares: all, or those of the peers without the leader's."),
        ] = "all",
    ) -> None:
        super().__init__()
        classifiers = classifiers if pairs == "all" else classifiers[1:]
        check_readings(len(classifiers), product, norm)
        stacked(classifiers)
        names = {module: name for name, module in method.named_modules()}
        for i, classifier in enumerate(classifiers, 1):
            if classifier not in names:
                raise ValueError(f"classifier {i} of {len(classifiers)} is no module of the method")
        self.method = method
        # Paths instead of modules: a module that is registered twice would be saved twice.
        self.classifiers = tuple(names[classifier] for classifier in classifiers)
        self.matched = gamma is None
        self.gamma = matched_gamma(classifiers, product, norm) if gamma is None else gamma
        self.product = product
        self.norm = norm
        self.second_view, self.turns, self.rests = method.second_view, method.turns, method.rests
        self.peer_readouts = method.peer_readouts

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        losses = self.method(batch, turn)
        return {**losses, "cd": self.gamma * self.diversity()}

    def diversity(self) -> Tensor:
        """L_cd of the present classifiers, ()."""
        weights = stacked([self.method.get_submodule(path) for path in self.classifiers])
        return classifier_diversity(weights, self.product, self.norm)

    @property
    def computed(self) -> dict[str, float]:
        return {**self.method.computed, **({"gamma": self.gamma} if self.matched else {})}

    @property
    def reads_logits_of(self) -> Frozen | None:
        return self.method.reads_logits_of

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.method.groups()

    def predictors(self) -> dict[str, nn.Module]:
        return self.method.predictors()

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return self.method.readouts(x)

    def after_step(self) -> None:
        self.method.after_step()


def stacked(classifiers: Sequence[nn.Module]) -> Tensor:
    """Their weights, (m, K, D).

    Raises:
        ValueError: one has no weight, or another shape than the first.
    """
    weights = []
    for classifier in classifiers:
        weight = getattr(classifier, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() < 2:
            raise ValueError(
                f"{type(classifier).__name__} is no classifier with a weight of (classes, features)"
            )
        weights.append(weight.flatten(1))
    shapes = [tuple(weight.shape) for weight in weights]
    if len(set(shapes)) > 1:
        raise ValueError(f"eq. 5 compares classifiers of one shape, got {shapes}")
    return torch.stack(weights)


def check_readings(classifiers: int, product: str, norm: str) -> None:
    """Raise a ValueError where eq. 5 has no such reading."""
    if classifiers < 2:
        raise ValueError(f"classifier diversification is between two classifiers or more, got {classifiers}")
    for name, value, kind in (("product", product, Product), ("norm", norm, Norm)):
        if value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(kind)))}, got {value!r}")
