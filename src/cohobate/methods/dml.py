"""DML: networks that learn side by side teach one another.

Zhang, Xiang, Hospedales, Lu: Deep Mutual Learning, CVPR 2018.

    Theta_k         network k of the group
    K               len(group)
    p_k             softmax of the logits of network k
    p_avg           target="mean_probabilities"

Choices.
    Loss: that of network k is its cross-entropy, and the mean of KL(p_l || p_k) over the K - 1 others
        (``target="each"``, the paper's form for any K). ``target="mean_probabilities"`` is its variant
        DML_e, one KL to the mean of the others' probabilities; ``target="mean_logits"`` has one KL to
        the softmax of the mean of their logits.
    Temperature: the paper has none, that is T = 1. At T > 1 both sides are softened, and the KL is
        scaled by T^2 as in KD.
    Gradients: the others' predictions are constants, so the backward pass of the sum trains each network by
        its own loss.
    Order of updates: the paper's algorithm 1 updates the networks in turns, and computes the others'
        predictions again after each update: ``in_turns=True``, for networks that share no parameters. By
        default all are updated together, from the predictions before the update: K passes in a step instead
        of K^2. In turns, the passes for the others' predictions are normalised by the batch too, but only
        the pass of the network that is updated changes running batch-norm statistics.
    The public code that other papers compare with (OKDDip's) has ``target="mean_logits"``,
        ``temperature=3``, ``detach=False`` and updates all together.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Group, Method, Separate, as_output, float32, run
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Temperature, checked
from . import group as peers
from .group import Detach
from .kd import softened_kl

Target = Literal["each", "mean_probabilities", "mean_logits"]


@float32
def mean_probabilities(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Logits whose softmax at ``temperature`` is the mean of several networks' own.

    Args:
        logits: (m, n, B, K) or (m, n, B, K, H, W); the mean is over m.
        temperature: T > 0.

    Returns:
        (n, B, K) or (n, B, K, H, W).
    """
    log_p = F.log_softmax(logits / temperature, dim=3)
    return temperature * (log_p.logsumexp(0) - math.log(len(logits)))  # p_avg of DML_e


@float32
def mutual_kl(
    logits: Tensor,
    others: Tensor,
    temperature: float | Tensor,
    target: Target = "each",
    kept: Tensor | None = None,
) -> Tensor:
    """The sum over n networks of T^2 KL(others || network); the caller detaches the others.

    Args:
        logits: of n networks, (n, B, K) or (n, B, K, H, W).
        others: of the m others of each, (m, n, B, K) or (m, n, B, K, H, W).
        temperature: T > 0.
        target: the mean over the others' KL, or the KL to the mean of them.
        kept: (B, H, W), bool: the positions of a dense prediction that count; None: all.
    """
    if target == "mean_logits":
        others = others.mean(0, keepdim=True)
    elif target == "mean_probabilities":
        others = mean_probabilities(others, temperature)[None]
    learners = logits.expand_as(others)
    if kept is not None:
        kept = kept.expand(*learners.shape[:2], *kept.shape).flatten(0, 2)
    # The mean over pairs, positions and networks at once; n of it is the sum over networks.
    mean = softened_kl(learners.flatten(0, 2), others.flatten(0, 2), temperature, kept)
    return len(logits) * mean


class DML(Method):
    """Networks learn from the labels and from each other's predictions (Zhang et al., 2018).

    CE_k + weight x T^2 KL(the others || k), summed over the networks, or in turns.

    Args:
        group: two networks or more, of any architectures, that predict the same classes.

    Raises:
        ValueError: one network only, an option out of range, or networks that share a part in turns.
    """

    @checked
    def __init__(
        self,
        group: Group,
        *,
        weight: Annotated[float, Ge(0), Doc("Factor of the KL term.")] = 1.0,
        temperature: Temperature = 1.0,
        target: Annotated[
            Target,
            Doc(
                "Target of the KL terms of a network: each of the others, the mean of their probabilities "
                "(DML_e), or the mean of their logits."
            ),
        ] = "each",
        in_turns: Annotated[
            bool, Doc("Update one network at a time, as in the paper's algorithm 1; off: all together.")
        ] = False,
        detach: Detach = True,
    ) -> None:
        super().__init__()
        peers.check_several(group, "DML")
        if in_turns:
            _check_turns(group, detach)
        self.group = group
        self.weight = weight
        self.temperature = Course.of(temperature)
        self.target = target
        self.in_turns = in_turns
        self.detach = detach
        self.turns = len(group) if in_turns else 1
        self.rests = in_turns
        self.peer_readouts = peers.peer_names(len(group))

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        if self.in_turns:
            return self._turn(batch, turn)
        logits = peers.stack_logits(self.group(batch.x))
        others = peers.others(logits.detach() if self.detach else logits)
        temperature = now(self.temperature, batch, "the temperature of DML")
        return {
            "ce": peers.summed_cross_entropy(logits, batch.y),
            "kl": self.weight * mutual_kl(logits, others, temperature, self.target, batch.kept),
        }

    def _turn(self, batch: Batch, turn: int) -> dict[str, Tensor]:
        """The loss of one network; the others predict without gradient."""
        learner = as_output(self.group.alone(turn)(batch.x))
        rest = [self.group.alone(i) for i in range(len(self.group)) if i != turn]
        with torch.no_grad():
            outputs = [run(network, batch.x, track=False) for network in rest]
        logits = peers.stack_logits([learner, *outputs])
        learns, others = logits[:1], logits[1:, None].detach()
        temperature = now(self.temperature, batch, "the temperature of DML")
        kl = mutual_kl(learns, others, temperature, self.target, batch.kept)
        return {
            f"ce_{turn + 1}": peers.summed_cross_entropy(learns, batch.y),
            f"kl_{turn + 1}": self.weight * kl,
        }

    def predictors(self) -> dict[str, nn.Module]:
        return peers.predictors(self.group, range(len(self.group)))

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return peers.readouts(self.group(x))


def _check_turns(group: Group, detach: bool) -> None:
    if not isinstance(group, Separate):
        raise ValueError(
            f"DML in turns needs networks that share nothing (Separate), got {type(group).__name__}: "
            "a part that they share has no turn in which to rest"
        )
    if not detach:
        raise ValueError("DML in turns updates one network a turn; detach=False needs in_turns=False")
