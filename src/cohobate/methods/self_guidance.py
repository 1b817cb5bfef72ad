"""Self-Guidance: the full network teaches randomly sampled sub-networks of itself.

Zheng, Peng: Self-Guidance: Improve Deep Neural Network Generalization via Knowledge Distillation,
WACV 2022.

    b_l     gates.sampled()     one Bernoulli draw a residual block and mini-batch
    p_l     gates.expected()    survival probability of a block
    lambda  weight              weight of the distillation term
    tau     temperature         tau > 1 softens both predictions

Choices.
    KL: KL(teacher || student) with the teacher detached, who learns from its own cross-entropy.
        Eq. 5 prints the arguments the other way round and says nothing of gradients;
        ``detach=False`` lets the term move the teacher's pass too.
    Batch norm: both passes normalise by their batch; the running statistics come from the full
        pass only, because that is what is deployed. ``statistics="both"`` lets both move them.
    Survival: linear decay to p_L = 0.5, the setting of Stochastic Depth that the paper points to.
    Ablations (table 6): ``weight=0`` is "without online distillation"; ``backward_full=False`` is
        "without backward full network": the teacher's pass has no gradient, so only the student's
        cross-entropy and the distillation term train the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, Output, cross_entropy, run
from .kd import softened_kl
from .stochastic_depth import SurvivalGates


class SelfGuidance(Method):
    """CE_S + CE_T + lambda tau^2 KL (eq. 5), S a random sub-network of T.

    Args:
        network: a network whose residual branches end in gates.
        survival: p_L of the linear decay, or one probability a block.
        weight: lambda of eq. 5; the paper tries 0 to 3.
        temperature: tau.
        detach: whether the teacher is a constant in the distillation term.
        backward_full: whether the full network's own cross-entropy trains it.
        statistics: which passes move the batch-norm statistics.

    Raises:
        ValueError: the network has no gates, or an argument is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        survival: float | Sequence[float] = 0.5,
        weight: float = 0.25,
        temperature: float = 3.0,
        detach: bool = True,
        backward_full: bool = True,
        statistics: Literal["full", "both"] = "full",
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight (lambda) must not be negative, got {weight}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if statistics not in ("full", "both"):
            raise ValueError(f"statistics must be 'full' or 'both', got {statistics!r}")
        self.network = network
        self.gates = SurvivalGates(network, survival)
        self.weight = weight
        self.temperature = temperature
        self.detach = detach
        self.backward_full = backward_full
        self.statistics = statistics

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        student = self._student(batch.x).logits
        with nullcontext() if self.backward_full else torch.no_grad():
            teacher = self._teacher(batch.x).logits
        target = teacher.detach() if self.detach else teacher
        losses = {"ce_student": cross_entropy(student, batch.y)}  # Eq. 5, first term
        if self.backward_full:
            losses["ce_teacher"] = cross_entropy(teacher, batch.y)  # Eq. 5, second term
        losses["kl"] = self.weight * softened_kl(student, target, temperature=self.temperature)
        return losses

    def _student(self, x: Tensor) -> Output:
        return run(self.network, x, gates=self.gates.sampled(), track=self.statistics == "both")  # Eq. 3

    def _teacher(self, x: Tensor) -> Output:
        return run(self.network, x, gates=self.gates.expected())  # Eq. 4

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.gates.deployed(self.network))}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": self._teacher(x).logits}
