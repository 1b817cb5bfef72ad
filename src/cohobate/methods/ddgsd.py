"""DDGSD: the predictions of one network for two augmentations of an image teach each other.

Xu, Liu: Data-Distortion Guided Self-Distillation for Deep Neural Networks, AAAI 2019.

    x_a, x_b    batch.views     two augmentations of the same images
    p_a, p_b    logits          of each, softened
    h_a, h_b    features        pooled features of each, which the classifier reads
    lambda      weight          of the KL terms
    mu          mmd_weight      of the distance between the distributions of features
    T           temperature

Choices.
    From the paper (its text was not at hand; known from other publications): a cross-entropy for each
        version, KL in both directions, MMD between the features before the classifier; lambda = 1, mu from
        1e-4 to 5e-4. The authors published no code. A re-implementation that claims to follow their settings
        has mu = 5e-4 and T = 3; these are our defaults.
    T^2: inside the KL terms, as in KD.
    Gradients: the prediction that serves as the target of a KL term is a constant, so each term has the
        gradient of KD, the difference of two probabilities; a gradient into the target would contain the
        log-ratios of rare classes. ``detach=False``: gradients flow into both predictions of both terms. The
        gradient of MMD flows into the features of both versions.
    MMD: with a linear kernel, the squared distance of the two mean features; the mean is over all images of
        the batch in this process, of all classes. ``average="all"`` averages over images and features, so
        that two numbers are compared.
    Passes: one pass over both versions; its batch-norm statistics are those of both together.
    Public re-implementations: Self-KD-Lib has ``ce_weight=0.5, temperature=4, average="all"`` and detaches
        the targets. Another takes two passes, and has the mean squared difference of the logits instead of
        MMD.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Given, Method, Output, as_output, cross_entropy, float32
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Temperature, checked
from .kd import softened_kl

Average = Literal["images", "all"]


@float32
def mean_distance(one: Tensor, two: Tensor, average: Average = "images") -> Tensor:
    """Squared distance of mean features: the squared MMD of a linear kernel.

    Args:
        one: (B, D).
        two: the same shape.
        average: over the images, or over images and features.

    Raises:
        ValueError: the shapes differ.
    """
    if one.shape != two.shape:
        raise ValueError(f"features of shapes {tuple(one.shape)} and {tuple(two.shape)} have no distance")
    if average == "all":
        return (one.mean() - two.mean()).square()
    return (one.mean(dim=0) - two.mean(dim=0)).square().sum()  # |E[h_a] - E[h_b]|^2


def other_view(batch: Batch, method: str, contents: str) -> Tensor:
    """The second view of a batch.

    Args:
        batch: of two views.
        method: its name, for the error message.
        contents: what the second view must show, for the error message.

    Raises:
        ValueError: there is one view only, or it is not as large as the first.
    """
    if len(batch.views) < 2 or batch.views[1].shape != batch.x.shape:
        raise ValueError(
            f"{method} needs {contents} as Batch.views[1], of the shape of the first view; got views of "
            f"shapes {[tuple(view.shape) for view in batch.views]}"
        )
    return batch.views[1]


def features(output: Output) -> Tensor:
    """The features before the classifier, (B, D).

    Raises:
        ValueError: the network does not show them.
    """
    if output.pooled is None:
        raise ValueError(
            "DDGSD compares the features before the classifier, which this network does not show; name its "
            "classifier to cohobate.adapt(network, head=...), or set mmd_weight to 0"
        )
    return output.pooled


class DDGSD(Method):
    """Two augmentations of an image predict alike (Xu and Liu, 2019).

    CE_a + CE_b + lambda T^2 (KL(p_a || p_b) + KL(p_b || p_a)) + mu MMD^2(h_a, h_b).
    Terms: ``ce`` and ``kl``, each of both versions; ``mmd``, unless its weight is 0.

    Args:
        network: images -> Output; with MMD, one that shows its pooled features.

    Raises:
        ValueError: an option is out of range; when it runs, no second view, or no pooled features.
    """

    second_view = "augmentation"

    @checked
    def __init__(
        self,
        network: nn.Module,
        *,
        weight: Annotated[
            float, Ge(0), Doc("lambda, weight of the KL terms between the two versions of an image.")
        ] = 1.0,
        temperature: Temperature = 3.0,
        mmd_weight: Annotated[
            float,
            Ge(0),
            Doc(
                "mu, weight of the distance between the versions' mean features (the paper: 1e-4 to 5e-4); "
                "0: no such term, for networks that do not return the features before the classifier."
            ),
        ] = 5e-4,
        ce_weight: Annotated[
            float, Ge(0), Doc("Factor of the cross-entropy of each version; 0.5: the mean of the two.")
        ] = 1.0,
        detach: Annotated[
            bool, Doc("Stop the gradient at the target of each KL term; off: it flows into both versions.")
        ] = True,
        average: Annotated[
            Average,
            Doc(
                "Mean features of the mu term: averaged over images; all: over images and features (as in a "
                "public port)."
            ),
        ] = "images",
    ) -> None:
        super().__init__()
        self.network = network
        self.weight = weight
        self.temperature = Course.of(temperature)
        self.mmd_weight = mmd_weight
        self.ce_weight = ce_weight
        self.detach = detach
        self.average = average

    @classmethod
    def of(cls, given: Given, **options: Any) -> Self:
        """Made from a run's network, which must show its pooled features unless ``mmd_weight`` is 0."""
        method = super().of(given, **options)
        if method.mmd_weight:
            features(given.look(method.network))
        return method

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        views = torch.cat([batch.x, other_view(batch, "DDGSD", "another augmentation of the images")])
        output = as_output(self.network(views))
        other = output.logits.roll(len(batch.x), dims=0)  # of each image's other version
        target = other.detach() if self.detach else other
        # Means over both versions, where the paper has sums.
        ce = 2 * cross_entropy(output.logits, torch.cat([batch.y, batch.y]))
        temperature = now(self.temperature, batch, "the temperature of DDGSD")
        kl = 2 * softened_kl(output.logits, target, temperature=temperature)
        losses = {"ce": self.ce_weight * ce, "kl": self.weight * kl}
        if self.mmd_weight:
            one, two = features(output).chunk(2)
            losses["mmd"] = self.mmd_weight * mean_distance(one, two, average=self.average)
        return losses

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": as_output(self.network(x)).logits}
