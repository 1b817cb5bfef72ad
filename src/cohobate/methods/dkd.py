"""DKD: separate terms for the target class and for the other classes.

Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation, CVPR 2022.

    z^S, z^T       student_logits, teacher_logits
    t              ids           the true class
    p_t, p_\\t      probability of the true class, and of all others together, at temperature T
    p^             the other classes' probabilities, renormalised to 1 among themselves
    alpha          alpha         factor of TCKD, KL between (p_t, p_\\t) of teacher and student
    beta           beta          factor of NCKD, KL between p^ of teacher and student
    T              temperature

Plain KD is TCKD + p_\\t^T NCKD (eq. 6): the weight of the other classes is small where the teacher is
confident. DKD gives NCKD a factor of its own.

Choices.
    Weights: alpha 1, beta 8, T 4 with cross-entropy 1, the public setting for CIFAR-100.
    Ramp: the public code multiplies by min(epoch / 20, 1), epochs of 240 counted from 1; ours is
        the same rise, continuous and from 0, over ``ramp`` = 20 / 240 of the run.
    Log space: p_t and 1 - p_t are computed from the difference of the true logit and the log-sum-exp of
        the others, which is accurate for any confidence. Public code takes the logarithm of a rounded
        probability and masks by subtracting 1000, which gives NaN for a difference above 420 at T = 4.
    Unlabelled images (label -100), and pixels that a mask ignores, are left out of the mean, for they have no
        target class.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import IGNORED, Batch, Output, Term, float32, only_kept
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Temperature, Weight, checked


@float32
def target_kl(
    student_logits: Tensor, teacher_logits: Tensor, ids: Tensor, temperature: float | Tensor
) -> Tensor:
    """TCKD, T^2 KL between (p_t, 1 - p_t) of teacher and student; the caller detaches the teacher.

    Args:
        student_logits: (B, K) or (B, K, H, W), K > 1.
        teacher_logits: the same shape.
        ids: the true classes, (B,) or (B, H, W), where -100 is left out.
        temperature: T > 0.

    Raises:
        ValueError: the shapes differ, or there is one class only.
    """
    _require_shapes(student_logits, teacher_logits, ids)
    target = _is_target(student_logits, ids)
    s = _margin(student_logits / temperature, target)
    t = _margin(teacher_logits / temperature, target)
    lead = t.sigmoid() * (F.logsigmoid(t) - F.logsigmoid(s))
    rest = (-t).sigmoid() * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return _labelled_mean(lead + rest, ids) * temperature**2  # Eq. 6, first term


@float32
def non_target_kl(
    student_logits: Tensor, teacher_logits: Tensor, ids: Tensor, temperature: float | Tensor
) -> Tensor:
    """NCKD, T^2 KL over all classes except the true one; the caller detaches the teacher.

    Args:
        student_logits: (B, K) or (B, K, H, W), K > 1.
        teacher_logits: the same shape.
        ids: the true classes, (B,) or (B, H, W), where -100 is left out.
        temperature: T > 0.

    Raises:
        ValueError: the shapes differ, or there is one class only.
    """
    _require_shapes(student_logits, teacher_logits, ids)
    target = _is_target(student_logits, ids)
    log_q = _log_others(student_logits / temperature, target)
    log_p = _log_others(teacher_logits / temperature, target)
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    return _labelled_mean(divergence, ids) * temperature**2  # Eq. 6, second term without its factor


def _is_target(logits: Tensor, ids: Tensor) -> Tensor:
    """Where a class is the true one, of the logits' shape; class 0 stands in where ids are ignored."""
    index = torch.where(ids == IGNORED, 0, ids).unsqueeze(1)
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, index, True)


def _margin(logits: Tensor, target: Tensor) -> Tensor:
    """log p_t - log(1 - p_t): the true logit less the log-sum-exp of the others."""
    true = logits.masked_fill(~target, 0).sum(dim=1)
    return true - logits.masked_fill(target, -torch.inf).logsumexp(dim=1)


def _log_others(logits: Tensor, target: Tensor) -> Tensor:
    """log p^; 0 at the true class, where student and teacher then agree and no gradient passes."""
    return F.log_softmax(logits.masked_fill(target, -torch.inf), dim=1).masked_fill(target, 0)


def _labelled_mean(values: Tensor, ids: Tensor) -> Tensor:
    labelled = ids != IGNORED
    return (values * labelled).sum() / labelled.sum().clamp(min=1)


def _require_shapes(student: Tensor, teacher: Tensor, ids: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"DKD: student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} "
            "differ; both networks must predict the same classes"
        )
    if student.shape[1] < 2:
        raise ValueError(f"DKD needs at least two classes, got logits {tuple(student.shape)}")
    if ids.shape != student.shape[:1] + student.shape[2:]:
        raise ValueError(
            f"DKD: labels {tuple(ids.shape)} and logits {tuple(student.shape)} do not match; give one "
            "label for each image, or each position of a dense prediction"
        )


class DKD(Term):
    """KD with separate terms for the true class and the others (Zhao et al., 2022).

    alpha TCKD + beta NCKD between the logits of student and teacher, times a linear ramp.

    Raises:
        ValueError: an option is out of range; in ``forward``: the labels are probabilities, not ids.
    """

    logits_only = True

    @checked
    def __init__(
        self,
        *,
        alpha: Annotated[
            float, Ge(0), Doc("alpha, factor of TCKD: KL between the true class and all others together.")
        ] = 1.0,
        beta: Annotated[float, Ge(0), Doc("beta, factor of NCKD: KL among the other classes.")] = 8.0,
        temperature: Temperature = 4.0,
        ramp: Annotated[float, Ge(0), Le(1), Doc("Share of the run over which the loss rises from 0.")] = 20
        / 240,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.alpha = alpha
        self.beta = beta
        self.temperature = Course.of(temperature)
        self.ramp = ramp

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ids = batch.ids("DKD")
        temperature = now(self.temperature, batch, "the temperature of DKD")
        ours, theirs = (only_kept(x, batch.kept) for x in (student.logits, teacher.logits.detach()))
        arguments = (ours, theirs, ids, temperature)
        value = self.alpha * target_kl(*arguments) + self.beta * non_target_kl(*arguments)  # Eq. 7
        return batch.ramp(self.ramp, "DKD") * value
