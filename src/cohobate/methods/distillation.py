"""A student learns from the labels and from a frozen teacher, through any set of terms."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..core import (
    Batch,
    Classifier,
    Frozen,
    Method,
    Output,
    Term,
    as_output,
    cross_entropy,
    with_cross_entropy,
)
from ..core.options import CEWeight, checked


class Distillation(Method):
    """``ce_weight`` x cross-entropy + the sum of weight x term over the terms.

    Args:
        student: the network to train.
        teacher: frozen (a plain module is copied and frozen).
        terms: name -> what is compared, each scaled by its own ``weight``.
    """

    @checked
    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        terms: Mapping[str, Term],
        *,
        ce_weight: CEWeight = 0.1,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)
        self.terms = nn.ModuleDict(terms)
        self.ce_weight = ce_weight

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        student = as_output(self.student(batch.x))
        teacher = self.teacher(batch.x) if batch.taught is None else Output(batch.taught)
        losses = {"ce": self.ce_weight * cross_entropy(student.logits, batch.y)}
        for name, term in self.terms.items():
            losses[name] = term.weight * term(student, teacher, batch)
        return losses

    @property
    def reads_logits_of(self) -> Frozen | None:
        return self.teacher if all(term.logits_only for term in self.terms.values()) else None

    @property
    def label_readers(self) -> tuple[str, ...]:
        return with_cross_entropy("ce_weight", self.ce_weight, self.terms.values())

    def predictors(self) -> dict[str, nn.Module]:
        return {"student": Classifier(self.student)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"student": as_output(self.student(x)).logits}
