"""Stochastic Depth.

Huang, Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth, ECCV 2016.

    b_l     draw                whether residual block l takes part in this mini-batch
    p_l     survival            Pr(b_l = 1)
    L       blocks              residual blocks of the network

Choices. One draw for each mini-batch, as in the paper; where several processes share a batch, or
``--accumulate`` divides it, one for each part. The sampled pass, the only one, updates the
batch-norm statistics. Blocks are numbered from 1, so that p_1 < 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, cross_entropy, fold, gate_names, run
from ..core.options import Doc, Gt, Le, checked

Survival = Annotated[
    float | Sequence[float],
    Gt(0),
    Le(1),
    Doc("p_L, survival probability of the last block; from the first on they fall linearly from 1 to p_L."),
]


def linear_decay(blocks: int, last: float) -> list[float]:
    """Survival probabilities that fall linearly from near 1 to ``last`` = p_L."""
    return [1 - (block / blocks) * (1 - last) for block in range(1, blocks + 1)]  # Eq. 4


def draw(survival: Tensor) -> Tensor:
    """b_l ~ Bernoulli(p_l), (L,) -> (L,) of 0 and 1."""
    return (torch.rand_like(survival) < survival).to(survival.dtype)


class SurvivalGates(nn.Module):
    """The gates of a network with their survival probabilities.

    Args:
        network: a network whose residual branches end in gates.
        survival: p_L of the linear decay, or one probability for each block; in (0, 1].

    Raises:
        ValueError: the network has no gates, or not one for each probability.
    """

    probabilities: Tensor

    def __init__(self, network: nn.Module, survival: float | Sequence[float]) -> None:
        super().__init__()
        self.names = gate_names(network)
        blocks = len(self.names)
        each = list(survival) if isinstance(survival, Sequence) else linear_decay(blocks, survival)
        if len(each) != blocks:
            raise ValueError(
                f"survival has {len(each)} probabilities for {blocks} residual blocks; give one for each, or "
                "that of the last block alone"
            )
        self.register_buffer("probabilities", torch.tensor(each), persistent=False)

    def sampled(self) -> dict[str, Tensor]:
        """A random sub-network: b_l of each block."""
        return dict(zip(self.names, draw(self.probabilities).unbind(), strict=True))

    def expected(self) -> dict[str, Tensor]:
        """The full network: p_l of each block."""
        return dict(zip(self.names, self.probabilities.unbind(), strict=True))

    def deployed(self, network: nn.Module) -> nn.Module:
        """A plain copy of the network with p_l folded in."""
        return fold(network, dict(zip(self.names, self.probabilities.tolist(), strict=True)))


class StochasticDepth(Method):
    """Trains a random sub-network in each step (Huang et al., 2016); the full network is deployed.

    The residual branches of the full network are scaled by p_l. ``survival`` may also be a sequence: a
    probability for each block.

    Args:
        network: a network whose residual branches end in gates.

    Raises:
        ValueError: the network has no gates, or an option is out of range.
    """

    @checked
    def __init__(self, network: nn.Module, *, survival: Survival = 0.5) -> None:
        super().__init__()
        self.network = network
        self.gates = SurvivalGates(network, survival)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        output = run(self.network, batch.x, gates=self.gates.sampled())  # Eq. 2
        return {"ce": cross_entropy(output.logits, batch.y)}

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.gates.deployed(self.network))}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": run(self.network, x, gates=self.gates.expected()).logits}  # Eq. 5
