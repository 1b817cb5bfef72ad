"""Self-Guidance: the full network teaches randomly sampled sub-networks of itself.

Zheng, Peng: Self-Guidance: Improve Deep Neural Network Generalization via Knowledge Distillation,
WACV 2022.

    b_l     gates.sampled()     one Bernoulli draw a residual block and mini-batch
    p_l     gates.expected()    survival probability of a block
    lambda  weight              weight of the distillation term
    tau     temperature         tau > 1 softens both predictions

Choices.
    KL: KL(teacher || student) with the teacher detached; it learns from its own cross-entropy.
        Eq. 5 prints the arguments in the other order and does not mention gradients; with
        ``detach=False`` the gradient of the term also flows into the teacher's pass, where that has one:
        not with ``backward_full=False``.
    Batch norm: both passes normalise by their batch; only the full pass updates the running statistics,
        since the full network is deployed. With ``statistics="both"`` both passes update them.
    Survival: linear decay to p_L = 0.5, the setting of Stochastic Depth that the paper points to.
    Sub-networks: one for each forward pass of the student. Where several processes share a batch, or
        ``--accumulate`` divides it, each part of the batch has a sub-network of its own; the paper has one
        for each mini-batch.
    Ablations (table 6): ``weight=0`` is "without online distillation"; ``backward_full=False`` is
        "without backward full network": the teacher's pass has no gradient, so only the student's
        cross-entropy and the distillation term train the weights.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, Output, cross_entropy, run
from ..core.courses import Course, now
from ..core.options import Changing, Doc, Ge, Gt, checked
from .kd import softened_kl
from .stochastic_depth import Survival, SurvivalGates


class SelfGuidance(Method):
    """The full network teaches random sub-networks of itself (Zheng and Peng, 2022).

    CE_S + CE_T + lambda tau^2 KL (eq. 5), S a random sub-network of T. ``survival`` may also be a
    sequence: a probability for each block.

    Args:
        network: a network whose residual branches end in gates.

    Raises:
        ValueError: the network has no gates, or an option is out of range.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        *,
        survival: Survival = 0.5,
        weight: Annotated[
            float, Ge(0), Doc("lambda of eq. 5, weight of the KL term; the paper tries 0 to 3.")
        ] = 0.25,
        temperature: Annotated[
            float | str,
            Changing(Gt(0)),
            Doc("tau, temperature that softens both predictions; 8..2 changes it linearly over the run."),
        ] = 3.0,
        detach: Annotated[
            bool,
            Doc(
                "Stop the gradient at the full network in the KL term; off: it flows into it, except with "
                "--no-backward-full."
            ),
        ] = True,
        backward_full: Annotated[
            bool,
            Doc(
                "Train the full network by its own cross-entropy; off: no gradient flows into it at all, "
                "whatever --detach says (table 6)."
            ),
        ] = True,
        statistics: Annotated[
            Literal["full", "both"],
            Doc("Passes that update the batch-norm statistics: full network only, or both."),
        ] = "full",
    ) -> None:
        super().__init__()
        self.network = network
        self.gates = SurvivalGates(network, survival)
        self.weight = weight
        self.temperature = Course.of(temperature)
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
        temperature = now(self.temperature, batch, "the temperature of Self-Guidance")
        losses["kl"] = self.weight * softened_kl(student, target, temperature, batch.kept)
        return losses

    def _student(self, x: Tensor) -> Output:
        return run(self.network, x, gates=self.gates.sampled(), track=self.statistics == "both")  # Eq. 3

    def _teacher(self, x: Tensor) -> Output:
        return run(self.network, x, gates=self.gates.expected())  # Eq. 4

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.gates.deployed(self.network))}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": self._teacher(x).logits}
