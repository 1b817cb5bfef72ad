"""Squared L2 distance between the predictions of student and teacher.

Ba, Caruana: Do Deep Nets Really Need to be Deep?, NeurIPS 2014 (between logits, eq. 2); one form of L_(T-S)
in eq. 3 of ResKD (Li et al., 2021), which prints the other, between softened probabilities.

    S, T        student, teacher        logits, (B, K)
    t           temperature             of eq. 3 of ResKD

Choices.
    Scale: between logits the mean over classes, the batch and every position of a dense prediction; summed
        over ten classes, as the norm of ResKD's eq. 19 would be, the loss ran away within an epoch at its
        learning rate of 0.1 (ResNet-8 on CIFAR-10). Between probabilities, which are bounded, classes are
        summed. ``reduction`` has the other form. Ba and Caruana have half of the sum.
    Between logits the temperature of ResKD's eq. 3 cancels: t^2 |S / t - T / t|^2 = |S - T|^2. Between
        probabilities t^2 is inside, as in KD.
    Pixels that a mask ignores are left out of the mean.
    Weight 0.9 and cross-entropy 0.1: ResKD prints tau * distance + (1 - tau) * cross-entropy and no tau.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor

from ..core import Batch, Output, Term, float32, kept_positions, only_kept
from ..core.courses import Course, now
from ..core.options import Doc, Temperature, Weight, checked

Reduction = Literal["mean", "sum"]


@float32
def squared_l2(
    student: Tensor, teacher: Tensor, *, reduction: Reduction = "sum", kept: Tensor | None = None
) -> Tensor:
    """|S - T|^2, mean over the batch; the caller detaches the teacher.

    Args:
        student: (B, K) or (B, K, H, W).
        teacher: the same shape.
        reduction: of the squared differences over the classes.
        kept: (B, H, W), bool: the positions that count; None: all.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same(student, teacher)
    return _mean(only_kept(student, kept) - only_kept(teacher, kept), reduction, kept)  # Li 2021, Eq. 19


@float32
def softened_l2(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    *,
    reduction: Reduction = "sum",
    kept: Tensor | None = None,
) -> Tensor:
    """t^2 |softmax(S / t) - softmax(T / t)|^2, summed and averaged as :func:`squared_l2`.

    Args:
        student_logits: (B, K) or (B, K, H, W).
        teacher_logits: the same shape; the caller detaches them.
        temperature: t > 0.
        reduction, kept: as there.

    Raises:
        ValueError: the shapes differ.
    """
    _require_same(student_logits, teacher_logits)
    both = (only_kept(logits, kept) for logits in (student_logits, teacher_logits))
    student, teacher = ((logits / temperature).softmax(dim=1) for logits in both)
    return temperature**2 * _mean(student - teacher, reduction, kept)  # Li 2021, first term of Eq. 3


def _require_same(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} differ; "
            "both networks must predict the same classes"
        )


def _mean(difference: Tensor, reduction: Reduction, kept: Tensor | None) -> Tensor:
    """The mean of the squares over the positions; the difference is 0 where they are not kept."""
    squared = difference.square()
    if kept is None:
        return (squared.sum(dim=1) if reduction == "sum" else squared).mean()
    total = squared.sum() / kept_positions(difference, kept)
    return total if reduction == "sum" else total / difference.shape[1]


class L2(Term):
    """Squared L2 distance between the logits, or the softened probabilities (Ba and Caruana, 2014)."""

    logits_only = True
    reads_labels = False
    ce_weight: ClassVar[float] = 0.1

    @checked
    def __init__(
        self,
        *,
        of: Annotated[
            Literal["logits", "probabilities"],
            Doc("What is compared: the logits, or the probabilities softened by the temperature."),
        ] = "logits",
        reduction: Annotated[
            Reduction | None,
            Doc(
                "Squared differences are summed or averaged over the classes; by default the mean for "
                "logits, the sum for probabilities."
            ),
        ] = None,
        temperature: Temperature = 4.0,
        weight: Weight = 0.9,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.of = of
        self.reduction: Reduction = reduction or ("mean" if of == "logits" else "sum")
        self.temperature = Course.of(temperature)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        target = teacher.logits.detach()
        if self.of == "logits":
            return squared_l2(student.logits, target, reduction=self.reduction, kept=batch.kept)
        temperature = now(self.temperature, batch, "the temperature of L2")
        how: dict[str, Any] = {"reduction": self.reduction, "kept": batch.kept}
        return softened_l2(student.logits, target, temperature, **how)
