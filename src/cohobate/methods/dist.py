"""DIST: maximises the correlation of the student's predictions with the teacher's.

Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher, NeurIPS 2022.

    Y^s, Y^t    softmax of the logits at temperature tau, images x classes
    rho_p       Pearson's correlation
    L_inter     1 - rho_p of the rows: how one image relates to the classes
    L_intra     1 - rho_p of the columns: how one class relates to the images of the batch
    beta        inter          factor of L_inter
    gamma       intra          factor of L_intra
    tau         temperature

Choices.
    Weights: beta = gamma = 2 with cross-entropy 1, tau = 4, as usual for CIFAR-100; the public code's
        own defaults are 1, 1 and no temperature.
    tau^2: both relations are multiplied by it, as in the public code; the paper's listing has no
        such factor. The usual beta and gamma belong to this scale.
    Constant rows and columns (a classifier initialised at zero, a class that is never predicted) have no
        defined correlation: it is set to 0, which is 1 in the loss, without a gradient. The public code adds
        1e-8 to the product of the norms, which multiplies their gradient by 1e8, and makes the correlation
        of classes of tiny probability 0; here it is computed exactly.
    Dense predictions: every position is a row. Positions that a mask ignores are in neither relation.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..core import Batch, Output, Term, float32, only_kept
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Temperature, Weight, checked


@float32
def inter_class(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """tau^2 L_inter, averaged over the images; the caller detaches the teacher.

    Args:
        student_logits: (B, K) or (B, K, H, W).
        teacher_logits: the same shape.
        temperature: tau > 0.
        kept: (B, H, W), bool: the positions of a dense prediction that count, without any of which it is 0;
            None: all.

    Raises:
        ValueError: the shapes differ.
    """
    pair = _probabilities(student_logits, teacher_logits, temperature, kept)
    return _inter(*pair, _weights(kept)) * temperature**2


@float32
def intra_class(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """tau^2 L_intra, averaged over the classes; the caller detaches the teacher.

    Args:
        student_logits: (B, K) or (B, K, H, W).
        teacher_logits: the same shape.
        temperature: tau > 0.
        kept: (B, H, W), bool: the positions of a dense prediction that count, without any of which it is 0;
            None: all.

    Raises:
        ValueError: the shapes differ.
    """
    pair = _probabilities(student_logits, teacher_logits, temperature, kept)
    return _intra(*pair, _weights(kept)) * temperature**2


@float32
def _relations(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    inter: float,
    intra: float,
    kept: Tensor | None,
) -> Tensor:
    """beta tau^2 L_inter + gamma tau^2 L_intra of probabilities that are computed once."""
    pair = _probabilities(student_logits, teacher_logits, temperature, kept)
    weights = _weights(kept)
    return (inter * _inter(*pair, weights) + intra * _intra(*pair, weights)) * temperature**2


def _inter(student: Tensor, teacher: Tensor, weights: Tensor | None) -> Tensor:
    each = pearson(student, teacher, dim=1)
    if weights is None:
        return 1 - each.mean()  # L_inter
    # A row that is not kept is constant, so its correlation is 0.
    return (1 - each.sum() / weights.sum().clamp(min=1)) * weights.any()  # L_inter


def _intra(student: Tensor, teacher: Tensor, weights: Tensor | None) -> Tensor:
    relation = 1 - pearson(student, teacher, dim=0, weights=weights).mean()  # L_intra
    return relation if weights is None else relation * weights.any()


@float32
def pearson(a: Tensor, b: Tensor, dim: int, weights: Tensor | None = None) -> Tensor:
    """Pearson's correlation of two tensors along a dimension; 0 where either is constant.

    Args:
        a, b: of one shape.
        dim: the dimension.
        weights: 1 for what counts along it and 0 for the rest, to be broadcast; None: all counts.
    """
    (a, inverse_a), (b, inverse_b) = _centred(a, dim, weights), _centred(b, dim, weights)
    product: Tensor = torch.linalg.vecdot(a, b, dim=dim)
    return product * inverse_a * inverse_b  # rho_p


def _centred(x: Tensor, dim: int, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x less its mean, and one over the norm of that; 0, without a gradient, where x is constant."""
    if weights is None:
        mean = x.mean(dim=dim, keepdim=True)
        centred = x - mean
    else:
        mean = (x * weights).sum(dim=dim, keepdim=True) / weights.sum().clamp(min=1)
        centred = (x - mean) * weights
    square = torch.linalg.vecdot(centred, centred, dim=dim)
    # Constant up to rounding, or with a norm below 1e-12, where the gradient of the root would overflow.
    rounding = x.shape[dim] * (16 * torch.finfo(x.dtype).eps) ** 2
    least = mean.detach().squeeze(dim).square() * rounding + 1e-24
    return centred, torch.where(square > least, square, torch.inf).rsqrt()


def _probabilities(
    student: Tensor, teacher: Tensor, temperature: float | Tensor, kept: Tensor | None
) -> tuple[Tensor, Tensor]:
    if student.shape != teacher.shape:
        raise ValueError(
            f"DIST: student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} "
            "differ; both networks must predict the same classes"
        )
    student, teacher = only_kept(student, kept), only_kept(teacher, kept)
    return _rows(student / temperature).softmax(dim=1), _rows(teacher / temperature).softmax(dim=1)


def _weights(kept: Tensor | None) -> Tensor | None:
    """1 for each row of :func:`_rows` that is kept, 0 for the others, (B H W, 1); None: all are."""
    return None if kept is None else kept.flatten().unsqueeze(1)


def _rows(logits: Tensor) -> Tensor:
    """(B, K) as it is, (B, K, H, W) as (B H W, K)."""
    return logits.movedim(1, -1).flatten(end_dim=-2)


class DIST(Term):
    """Correlations of the predictions between and within classes (Huang et al., 2022).

    beta L_inter + gamma L_intra between the softened predictions of student and teacher.
    """

    logits_only = True
    reads_labels = False

    @checked
    def __init__(
        self,
        *,
        inter: Annotated[
            float,
            Ge(0),
            Doc("beta, factor of the inter-class loss: 1 - Pearson's correlation over an image's classes."),
        ] = 2.0,
        intra: Annotated[
            float,
            Ge(0),
            Doc("gamma, factor of the intra-class loss: 1 - Pearson's correlation over a class's images."),
        ] = 2.0,
        temperature: Temperature = 4.0,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.inter = inter
        self.intra = intra
        self.temperature = Course.of(temperature)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        target = teacher.logits.detach()
        temperature = now(self.temperature, batch, "the temperature of DIST")
        factors = self.inter, self.intra
        return _relations(student.logits, target, temperature, *factors, batch.kept)
