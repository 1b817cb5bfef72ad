"""Hard-label distillation: the class that the teacher predicts is a second label.

Touvron, Cord, Douze, Massa, Sablayrolles, Jegou: Training data-efficient image transformers and
distillation through attention, ICML 2021.

    Z_s, Z_t    logits of student and teacher
    y           the label
    y_t         teacher_labels      argmax of Z_t, the teacher's decision
    1/2, 1/2    ce_weight, weight   of the two cross-entropies (eq. 3)

The term is 1/2 CE(Z_s, y_t); with the cross-entropy of the labels, of weight 1/2, it gives eq. 3. There is
no temperature.

Choices.
    Label smoothing: only the labels are smoothed (``--label-smoothing``), not the teacher's decisions, as in
        the paper.
    Mixed images: the teacher decides on the mixed image, as in the public code.
    Unlabelled images (label -100) have the teacher's decision: the teacher sees the image, not the label.
        Pixels that a mask ignores have none, for many of them are padding.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..core import IGNORED, Batch, Output, Term, cross_entropy
from ..core.options import Weight, checked


def teacher_labels(teacher_logits: Tensor) -> Tensor:
    """The class of the largest logit: (B, K) -> (B,), or (B, K, H, W) -> (B, H, W); no gradient passes."""
    return teacher_logits.argmax(dim=1)  # y_t


def hard_label_loss(student_logits: Tensor, teacher_logits: Tensor, kept: Tensor | None = None) -> Tensor:
    """CE(Z_s, y_t), ().

    Args:
        student_logits: (B, K) or (B, K, H, W).
        teacher_logits: the same shape.
        kept: (B, H, W), bool: the positions of a dense prediction that count; None: all.

    Raises:
        ValueError: the shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and teacher logits "
            f"{tuple(teacher_logits.shape)} differ; both networks must predict the same classes"
        )
    labels = teacher_labels(teacher_logits)
    labels = labels if kept is None else torch.where(kept, labels, IGNORED)
    return cross_entropy(student_logits, labels)  # Eq. 3, second term


class HardLabel(Term):
    """Cross-entropy with the class that the teacher predicts (Touvron et al., 2021)."""

    logits_only = True
    reads_labels = False
    ce_weight: ClassVar[float] = 0.5

    @checked
    def __init__(self, *, weight: Weight = 0.5) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        target = teacher.logits.detach()
        return hard_label_loss(student.logits, target, batch.kept)
