"""ONE: the branches of one network learn from their ensemble, weighted by a gate.

Zhu, Gong: Knowledge Distillation by On-the-Fly Native Ensemble, NeurIPS 2018.

    theta_i     group           branch i: the shared trunk and its own tail
    g_i         gate            importance of branch i for an image; they sum to 1
    z_i, z_e    logits          of branch i, and of the gated ensemble
    T           temperature

Choices.
    Gate: average pooling of the last stage that all branches share, a linear layer, batch norm, ReLU and
        softmax, as the authors' code has it.
    Target: z_e is a constant in the KL terms, as in that code; its own cross-entropy trains gate and
        branches. With ``detach=False``, as in a later re-implementation, the KL terms train it too.
    Ramp: the weight of the KL terms rises as exp(-5 (1 - t)^2) over the first 80 of 300 epochs, as in that
        code; the paper does not mention it. ``ramp=0``: full weight from the start.
    Deployed: the first branch. The paper reports the mean error of all branches, ``peer_mean``.
    Reference settings: three branches of which the last stage is split; SGD without Nesterov's form,
        weight decay 1e-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import torch
from torch import Tensor, nn

from ..core import Batch, Group, Method, Output, cross_entropy, float32
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Temperature, checked
from .group import (
    Detach,
    check_several,
    peer_names,
    predictors,
    readouts,
    stack_logits,
    summed_cross_entropy,
)
from .kd import softened_kl

RAMP = 80 / 300
"""Share of the run over which the distillation rises."""

Ramp = Annotated[
    float, Ge(0), Le(1), Doc("Share of the run, at its start, over which the KL terms rise from 0.")
]


@float32
def importance(scores: Tensor) -> Tensor:
    """Weights of the branches, (B, 1, m), from their scores, (B, m): one ensemble for all of them."""
    return torch.softmax(scores, dim=1)[:, None]  # g_i


@float32
def weighted(weights: Tensor, logits: Tensor) -> Tensor:
    """Ensembles of logits, a weight for each image and network.

    Args:
        weights: (B, E, m), of E ensembles; over m they sum to 1.
        logits: (m, B, K) or (m, B, K, H, W).

    Returns:
        (E, B, K) or (E, B, K, H, W).
    """
    return torch.einsum("bem,mb...->eb...", weights, logits)  # z_e = sum_i g_i z_i


@float32
def summed_kl(logits: Tensor, targets: Tensor, temperature: float | Tensor) -> Tensor:
    """Sum over networks of T^2 KL(target || network); the caller detaches the targets.

    Args:
        logits: (m, B, K) or (m, B, K, H, W).
        targets: logits, one for each network or one for all (first size 1).
        temperature: T > 0.
    """
    both = logits.flatten(0, 1), targets.expand_as(logits).flatten(0, 1)
    return len(logits) * softened_kl(*both, temperature=temperature)


def ramp_up(batch: Batch, share: float, method: str) -> Tensor | float:
    """exp(-5 (1 - t)^2), t from 0 to 1 over the first ``share`` of the phase (Laine and Aila, 2017).

    Raises:
        ValueError: the batch has no ``progress``; the message names the method.
    """
    t = batch.ramp(share, method)
    return torch.exp(-5 * (1 - t) ** 2) if isinstance(t, Tensor) else t


class BranchGate(nn.Module):
    """Importance of each branch for an image, read from a stage that all share.

    Args:
        channels: of that stage.
        branches: how many to weigh.
        stage: its number, from 0.

    Shapes: Outputs whose ``stages[stage]`` is (B, channels, H, W) -> (B, 1, branches), summing to 1.

    Raises:
        ValueError: when it runs, outputs without such a stage.
    """

    def __init__(self, channels: int, branches: int, stage: int) -> None:
        super().__init__()
        self.channels = channels
        self.stage = stage
        self.fc = nn.Linear(channels, branches)
        self.bn = nn.BatchNorm1d(branches)

    @classmethod
    def of(cls, group: Group, output: Output, branches: int) -> Self:
        """A gate on the last stage that all branches share.

        Args:
            group: the branches.
            output: of one of them.
            branches: how many to weigh.

        Raises:
            ValueError: they share no stage.
        """
        if group.shared == 0:
            raise ValueError(
                "the gate reads the last stage that all branches share, here none; part them later"
            )
        stage = group.shared - 1
        return cls(output.stages[stage].shape[1], branches, stage)

    def forward(self, branches: Sequence[Output]) -> Tensor:
        stages = branches[0].stages
        channels = [stage.shape[1] for stage in stages]
        if self.stage >= len(stages) or channels[self.stage] != self.channels:
            raise ValueError(
                f"the gate reads stage {self.stage} of {self.channels} channels; stages have channels "
                f"{channels}"
            )
        return importance(self.bn(self.fc(stages[self.stage].mean(dim=(2, 3)))).relu())


class ONE(Method):
    """Branches learn from their gated ensemble, the last stage branched (Zhu and Gong, 2018).

    Terms: ``ce_peers`` and ``kl_peers``, summed over the branches, and ``ce_ensemble``.

    Args:
        group: two or more branches of one network.
        gate: Outputs of the branches -> weights, (B, 1, m).

    Raises:
        ValueError: one branch only, or an option is out of range.
    """

    @checked
    def __init__(
        self,
        group: Group,
        gate: nn.Module,
        *,
        weight: Annotated[float, Ge(0), Doc("Factor of the KL terms in the loss.")] = 1.0,
        temperature: Temperature = 3.0,
        ramp: Ramp = RAMP,
        detach: Detach = True,
    ) -> None:
        super().__init__()
        check_several(group, "ONE")
        self.group = group
        self.gate = gate
        self.weight = weight
        self.temperature = Course.of(temperature)
        self.ramp = ramp
        self.detach = detach
        self.peer_readouts = peer_names(len(group))

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        branches = self.group(batch.x)
        logits = stack_logits(branches)
        ensemble = weighted(self.gate(branches), logits)
        target = ensemble.detach() if self.detach else ensemble
        temperature = now(self.temperature, batch, "the temperature of ONE")
        kl = summed_kl(logits, target, temperature=temperature)
        return {
            "ce_peers": summed_cross_entropy(logits, batch.y),
            "ce_ensemble": cross_entropy(ensemble[0], batch.y),
            "kl_peers": self.weight * ramp_up(batch, self.ramp, "ONE") * kl,
        }

    def predictors(self) -> dict[str, nn.Module]:
        return predictors(self.group, range(len(self.group)))

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return readouts(self.group(x))
