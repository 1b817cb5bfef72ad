"""Logit standardisation: logits of zero mean and unit deviation before any distillation of logits.

Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation, CVPR 2024.

    z           logits
    mean, sigma over the classes of one image
    Z(z)        standardise(z)      (z - mean) / sigma
    tau         the temperature of the wrapped term, the base temperature

The student need not match the teacher's range, only the relations between its logits.

Choices.
    Public setting: ``Standardised(KD(weight=9, temperature=2))`` with cross-entropy 0.1 for most
        CIFAR-100 pairs (tau 3 for some).
    sigma: of K - 1, as in the public code, which the printed results come from; ``correction=0`` is
        of K.
    The public code adds 1e-7 to sigma, below the rounding of float32. Here nothing is added;
        constant logits (a classifier that starts at zero) become 0 and give no gradient, where the
        public code multiplies theirs by 1e7.
    The cross-entropy sees the plain logits: they are standardised for the wrapped term only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Batch, Output, Term, float32


@float32
def standardise(logits: Tensor, correction: int = 1) -> Tensor:
    """Zero mean and unit standard deviation over the classes, for each image or position.

    Args:
        logits: (B, K) or (B, K, H, W).
        correction: the deviation divides by K - correction.

    Returns:
        The logits' shape; 0, without a gradient, where all classes are equal up to rounding.
    """
    freedom = min(correction, logits.shape[1] - 1)  # one class is constant, whatever it divides by
    variance, mean = torch.var_mean(logits, dim=1, correction=freedom, keepdim=True)
    rounding = (16 * torch.finfo(logits.dtype).eps) ** 2
    # Deviations below 1e-12 too: the gradient of 1 / sqrt(variance) would overflow.
    varies = variance > mean.detach().square() * rounding + 1e-24
    return (logits - mean) * torch.where(varies, variance, torch.inf).rsqrt()  # Z(z)


class Standardised(Term):
    """Another term of logits, given the standardised logits of both networks.

    Its weight is that of the wrapped term.

    Args:
        term: a term that reads nothing of the teacher but its logits: KD, DKD, DIST.
        correction: the deviation divides by K - correction; 1 as in the public code, or 0.

    Raises:
        ValueError: the term reads features, or correction is neither 0 nor 1.
    """

    logits_only = True

    def __init__(self, term: Term, correction: int = 1) -> None:
        super().__init__()
        if not term.logits_only:
            raise ValueError(
                f"Standardised wraps a term of logits, got {type(term).__name__}, which compares features; "
                "the valid ones have logits_only = True: KD, DKD, DIST"
            )
        if correction not in (0, 1):
            raise ValueError(f"correction must be 0 or 1, got {correction}")
        self.term = term
        self.weight = term.weight
        self.correction = correction

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        given = student._replace(logits=standardise(student.logits, self.correction))
        target = teacher._replace(logits=standardise(teacher.logits.detach(), self.correction))
        value: Tensor = self.term(given, target, batch)
        return value
