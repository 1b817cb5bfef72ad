"""Densely guided distillation: the teacher and every larger assistant guide a network together.

Son, Na, Choi, Hwang: Densely Guided Knowledge Distillation Using Multiple Teacher Assistants,
ICCV 2021.

    T, TA_1, ...    guides          the teacher and the assistants trained so far
    lambda          weight          share of the guidance; 1 - lambda is the cross-entropy's
    tau             temperature

Choices. The paper sums n + 1 distillation losses and counts the cross-entropy n + 1 times; this is its
loss divided by n + 1, so that one learning rate suits any number of guides. Stochastic learning leaves
each guide out of a mini-batch with probability ``drop``; 0, the default, is dense guidance without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Frozen, Method, as_output, cross_entropy, with_cross_entropy
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Lt, Temperature, checked
from .kd import softened_kl


class DGKD(Method):
    """(1 - lambda) CE + lambda times the mean of tau^2 KL(guide || student) over the guides.

    Args:
        student: the network to train.
        guides: the teacher and its assistants (a plain module is copied and frozen).

    Raises:
        ValueError: no guide, or an option is out of range.
    """

    @checked
    def __init__(
        self,
        student: nn.Module,
        guides: Sequence[nn.Module],
        *,
        temperature: Temperature = 4.0,
        weight: Annotated[
            float,
            Ge(0),
            Le(1),
            Doc("lambda, share of the KL terms in the loss; the cross-entropy has 1 - lambda."),
        ] = 0.9,
        drop: Annotated[
            float,
            Ge(0),
            Lt(1),
            Doc("Probability that the teacher or an assistant is left out of a mini-batch."),
        ] = 0.0,
    ) -> None:
        super().__init__()
        if not guides:
            raise ValueError("DGKD needs at least one guide")
        self.student = student
        self.guides = nn.ModuleList(map(Frozen.of, guides))
        self.weight = weight
        self.temperature = Course.of(temperature)
        self.drop = drop

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        logits = as_output(self.student(batch.x)).logits
        counts = torch.rand(len(self.guides), device=logits.device) >= self.drop
        losses = {"ce": (1 - self.weight) * cross_entropy(logits, batch.y)}
        share = self.weight / len(self.guides)
        temperature = now(self.temperature, batch, "the temperature of DGKD")
        for i, guide in enumerate(self.guides):
            target = guide(batch.x).logits.detach()
            divergence = softened_kl(logits, target, temperature, batch.kept)
            losses[f"kd_{i}"] = share * (counts[i] * divergence)
        return losses

    @property
    def label_readers(self) -> tuple[str, ...]:
        return with_cross_entropy("1 - weight =", 1 - self.weight)

    def predictors(self) -> dict[str, nn.Module]:
        return {"student": Classifier(self.student)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"student": as_output(self.student(x)).logits}
