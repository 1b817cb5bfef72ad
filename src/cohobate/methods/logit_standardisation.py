"""Logit standardisation: logits of zero mean and unit deviation before any distillation of logits.

Sun, Ren, Li, Wang, Cao: Logit Standardization in Knowledge Distillation, CVPR 2024.

    z           logits
    mean, sigma over the classes of one image
    Z(z)        standardise(z)      (z - mean) / sigma
    tau         the temperature of the wrapped term, the base temperature

The student learns the relations between the teacher's logits, not their range.

Choices.
    Public setting: ``Standardised(KD(weight=9, temperature=2))`` with cross-entropy 0.1 for most
        CIFAR-100 pairs (tau 3 for some).
    sigma: divides by K - 1, as in the public code that produced the printed results; with
        ``correction=0`` it divides by K.
    The public code adds 1e-7 to sigma, less than the rounding error of float32. Here nothing is added:
        constant logits (a classifier initialised at zero) become 0, without a gradient, which the public
        code multiplies by 1e7.
    The cross-entropy is computed from the plain logits; only the wrapped term gets standardised ones.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor

from ..core import Batch, Between, Output, Term, float32
from ..core.options import Doc, Temperature, Weight, checked
from .kd import KD


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
    """Softened KL between standardised logits (Sun et al., 2024).

    Or any other term of logits, computed on the standardised logits of both networks. Its weight is
    that of the wrapped term.

    Args:
        term: a term that reads only the logits of the teacher: KD, DKD, DIST.

    Raises:
        ValueError: the term reads features, or an option is out of range.
    """

    logits_only = True
    reads_labels = False
    ce_weight: ClassVar[float] = 0.1

    @checked
    def __init__(
        self,
        term: Term,
        *,
        correction: Annotated[
            Literal[0, 1],
            Doc(
                "Standard deviation of the logits: 1, divided by the number of classes less 1, as in the "
                "public code; 0, by the number of classes."
            ),
        ] = 1,
    ) -> None:
        super().__init__()
        if not term.logits_only:
            raise ValueError(
                f"Standardised wraps a term of logits, got {type(term).__name__}, which compares features; "
                "the valid ones have logits_only = True: KD, DKD, DIST"
            )
        self.term = term
        self.weight = term.weight
        self.correction = correction

    @classmethod
    def between(  # type: ignore[override]
        cls, networks: Between, *, temperature: Temperature = 2.0, weight: Weight = 9.0
    ) -> Self:
        """:class:`KD` on standardised logits."""
        return cls(KD(temperature=temperature, weight=weight))

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        standardised = student._replace(logits=standardise(student.logits, self.correction))
        target = teacher._replace(logits=standardise(teacher.logits.detach(), self.correction))
        value: Tensor = self.term(standardised, target, batch)
        return value
