"""SLA-SD: the network learns from its mean prediction for the four rotations of an image.

Lee, Hwang, Shin: Self-supervised Label Augmentation via Input Transformations, ICML 2020.

    t_j         rotations       image turned by j quarter turns, j = 0, ..., 3
    M           ROTATIONS       4
    (i, j)      joint_labels    class i turned by t_j, as one label: 4 i + j
    rho(.; w)   joint           classifier of the 4 K joint labels
    sigma(.; u) network         the network's own classifier of the K classes
    P_agg       aggregate       mean over j of the logits of (i, j) for t_j(x)
    beta        beta            factor of the own classifier's cross-entropy
    T           temperature     of the distillation
                weight          factor of the distillation

Choices.
    Own classifier: trained on the unrotated images only, in the paper and in the authors' code. It is the
        one that is deployed; the joint classifier is a linear layer beside it.
    Target: P_agg is a constant; only the joint cross-entropy trains the joint classifier.
    Temperature: the paper has none; the authors' code has T = 1, and T^2 before the KL.
    Joint cross-entropy: the mean over the four turns, as printed. For large data sets (ImageNet) the code
        recommends their sum: ``joint_weight=4``.
    Batch norm: one pass over all four rotations, so its statistics, including the running ones of the
        deployed network, are those of all rotations, as in the code.
    Order of the batch: all images unrotated, all rotated by 90 degrees, ...; the code has the rotations of
        an image next to each other. The losses are the same.
    Soft labels: (p, j) has probability p_i at (i, j) and 0 elsewhere; the paper has ids only.
    Left out: colour permutations, SLA without self-distillation (four passes when deployed), and the
        cross-entropy of P_agg, which the code has as an option that is off.
    Reference settings of the code: 80,000 steps of 128 images, SGD without Nesterov's form, learning rate
        0.1, divided by 10 after 1/2 and 3/4 of the steps, weight decay 1e-4.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn

from ..core import IGNORED, Batch, Classifier, Given, Method, Output, as_output, cross_entropy, float32
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Temperature, checked
from .kd import softened_kl

ROTATIONS = 4
"""Quarter turns of an image, none included."""


def rotations(x: Tensor) -> Tensor:
    """The images turned by 0, 90, 180 and 270 degrees, anticlockwise: (B, C, H, H) -> (4 B, C, H, H).

    In blocks by angle: rows 0 to B are the images as they came.

    Raises:
        ValueError: the images are not square.
    """
    if x.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"SLA turns images by 90 degrees, which needs square ones, got {x.shape[-2]} x {x.shape[-1]}"
        )
    return torch.cat([torch.rot90(x, j, (2, 3)) for j in range(ROTATIONS)])  # t_j(x)


def joint_labels(y: Tensor) -> Tensor:
    """Labels of :func:`rotations`: class i turned by t_j is 4 i + j.

    Args:
        y: ids, (B,), where -100 is ignored and stays so; or probabilities, (B, K).

    Returns:
        ids, (4 B,); or probabilities, (4 B, 4 K), which are 0 at all other turns.

    Raises:
        ValueError: labels of another shape (one for each position).
    """
    if y.dim() != (2 if y.is_floating_point() else 1):
        raise ValueError(f"SLA takes one label for an image, (B,) or (B, K), got {tuple(y.shape)}")
    turns = torch.arange(ROTATIONS, device=y.device)[:, None]
    if y.is_floating_point():
        turned = torch.eye(ROTATIONS, dtype=y.dtype, device=y.device)
        return torch.einsum("bi,jl->jbil", y, turned).flatten(2).flatten(0, 1)
    return torch.where(y == IGNORED, y, ROTATIONS * y + turns).flatten()


@float32
def aggregate(joint_logits: Tensor) -> Tensor:
    """P_agg as logits: for each class i the mean over j of the logits of (i, j) for t_j(x).

    Args:
        joint_logits: (4 B, 4 K), of :func:`rotations`.

    Returns:
        (B, K).

    Raises:
        ValueError: rows or columns are not four times as many as something.
    """
    rows, columns = joint_logits.shape
    if rows % ROTATIONS or columns % ROTATIONS:
        raise ValueError(
            f"SLA aggregates (4 B, 4 K) joint logits of the images in four turns, got ({rows}, {columns})"
        )
    shaped = joint_logits.reshape(ROTATIONS, rows // ROTATIONS, columns // ROTATIONS, ROTATIONS)
    return shaped.diagonal(dim1=0, dim2=3).mean(dim=2)  # 1/M sum_j w_ij^T z(t_j(x))


def features(output: Output) -> Tensor:
    """The features that the joint classifier reads, (B, D).

    Raises:
        ValueError: the network does not show them.
    """
    if output.pooled is None:
        raise ValueError(
            "SLA's joint classifier reads the features before the classifier, which this network does not "
            "show; name its classifier to cohobate.adapt(network, head=...)"
        )
    return output.pooled


def joint_logits(output: Output, joint: nn.Module) -> Tensor:
    """(4 B, 4 K) of a network's (4 B, D) features.

    Raises:
        ValueError: the network shows no features, or ``joint`` is not for four times its classes.
    """
    logits: Tensor = joint(features(output))
    if logits.shape[1] != ROTATIONS * output.logits.shape[1]:
        raise ValueError(
            f"the joint classifier of {output.logits.shape[1]} classes in {ROTATIONS} turns has "
            f"{ROTATIONS * output.logits.shape[1]} outputs, got {logits.shape[1]}"
        )
    return logits


class Aggregated(nn.Module):
    """Images -> aggregated logits: four passes of the network.

    Args:
        network: returns an Output with ``pooled``, (B, D).
        joint: (B, D) -> (B, 4 K).
    """

    def __init__(self, network: nn.Module, joint: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.joint = joint

    def forward(self, x: Tensor) -> Tensor:
        aggregated: Tensor = aggregate(joint_logits(as_output(self.network(rotations(x))), self.joint))
        return aggregated


class SLASD(Method):
    """The prediction aggregated over four rotations teaches the classifier (Lee et al., 2020).

    Joint cross-entropy of the turned images, and T^2 KL(aggregated || own classifier) beside its own.
    Terms: ``ce`` (own classifier, images as they came), ``ce_joint`` (mean over all turns), ``kl``.

    Args:
        network: returns an Output with ``pooled``, (B, D).
        joint: (B, D) -> (B, 4 K), a linear layer.

    Raises:
        ValueError: an option is out of range; or, when it runs, images that are not square, a network
            that shows no features, or a joint classifier of another number of classes.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        joint: nn.Module,
        *,
        weight: Annotated[float, Ge(0), Doc("Factor of the KL term to the aggregated prediction.")] = 1.0,
        temperature: Temperature = 1.0,
        beta: Annotated[float, Ge(0), Doc("beta, factor of the deployed classifier's cross-entropy.")] = 1.0,
        joint_weight: Annotated[
            float,
            Ge(0),
            Doc("Factor of the joint cross-entropy, a mean over the four rotations; 4: their sum."),
        ] = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.joint = joint
        self.temperature = Course.of(temperature)
        self.weight = weight
        self.beta = beta
        self.joint_weight = joint_weight

    @classmethod
    def of(cls, given: Given, **options: Any) -> Self:
        """Made with a joint classifier of a linear layer, on a network that shows its pooled features."""
        network = given.network()
        joint = nn.Linear(features(given.look(network)).shape[1], ROTATIONS * given.classes)
        return cls(network, joint, **options)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        single, joint = self._look(batch.x)
        target = aggregate(joint.detach())
        temperature = now(self.temperature, batch, "the temperature of SLA+SD")
        kl = softened_kl(single, target, temperature=temperature)
        return {
            "ce": self.beta * cross_entropy(single, batch.y),
            "ce_joint": self.joint_weight * cross_entropy(joint, joint_labels(batch.y)),
            "kl": self.weight * kl,
        }

    def _look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the images as they came, (B, K), and joint ones of all turns, (4 B, 4 K)."""
        output = as_output(self.network(rotations(x)))
        return output.logits[: len(x)], joint_logits(output, self.joint)

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network), "aggregated": Aggregated(self.network, self.joint)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        single, joint = self._look(x)
        return {"network": single, "aggregated": aggregate(joint)}
