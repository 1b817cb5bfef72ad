"""Softened-KL distillation.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.

    z_i     student_logits      logits of the student
    v_i     teacher_logits      logits of the teacher
    T       temperature

Choices. The paper gives the gradient of a cross-entropy with soft targets; KL differs from it by
the teacher's entropy, a constant, and is zero when the two agree. Classes are summed, the batch
(and every position of a dense prediction) is averaged, and T^2 is inside, as the usual weights
assume. Pixels that a mask ignores count in neither sum nor mean.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, Output, Term, float32, kept_positions, only_kept
from ..core.courses import Course, now
from ..core.options import Temperature, Weight, checked


@float32
def softened_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """T^2 KL(teacher || student) at a temperature; the caller detaches the teacher.

    Args:
        student_logits: (B, K) or (B, K, H, W).
        teacher_logits: the same shape.
        temperature: T > 0.
        kept: (B, H, W), bool: the positions of a dense prediction that count; None: all. The gradient at
            another is exactly 0, and so is the mean over none.

    Raises:
        ValueError: the shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and teacher logits "
            f"{tuple(teacher_logits.shape)} differ; both networks must predict the same classes"
        )
    positions = kept_positions(student_logits, kept)
    log_q = F.log_softmax(only_kept(student_logits, kept) / temperature, dim=1)  # Eq. 1
    log_p = F.log_softmax(only_kept(teacher_logits, kept) / temperature, dim=1)
    divergence = F.kl_div(log_q, log_p, reduction="sum", log_target=True)
    return divergence * (temperature**2 / positions)


class KD(Term):
    """Softened KL between the logits (Hinton et al., 2015)."""

    logits_only = True
    reads_labels = False
    ce_weight: ClassVar[float] = 0.1

    @checked
    def __init__(self, *, temperature: Temperature = 4.0, weight: Weight = 0.9) -> None:
        super().__init__()
        self.weight = weight
        self.temperature = Course.of(temperature)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        target = teacher.logits.detach()
        temperature = now(self.temperature, batch, "the temperature of KD")
        return softened_kl(student.logits, target, temperature, batch.kept)
