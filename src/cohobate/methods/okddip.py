"""OKDDip: each peer learns from its own ensemble of the peers, and all peers teach a group leader.

Chen, Mei, Wang, Feng, Chen: Online Knowledge Distillation with Diverse Peers, AAAI 2020.

    m           len(group)      networks: m - 1 auxiliary peers and the leader
    h_a         pooled          features of peer a
    L, E        query, key      projections of the features
    alpha_ab    attention       how much peer a learns of peer b; over b they sum to 1
    t_a         targets         what peer a learns from
    alpha       alpha           weight of the first level: the peers' KL terms
    beta        beta            weight of the second level: the leader's KL term (here equal to alpha)
    T           temperature

The attention is an argument: ONE's gate and the fusion module of the diversity paper weigh the peers in
its place (table 6 there), and ``alpha``, ``beta`` are then those of its eq. 8.

Choices.
    Branches (a trunk, several tails) or networks of their own: whatever the group is. The public code
        shares all but the last stage.
    Attention: h_a -> D / 8 numbers, without bias; softmax without 1 / sqrt(d); a peer attends to itself
        too; weights of logits, not of probabilities. All as in the public code.
    Leader: the first of the group, which keeps the weights of a pretrained network
        (:func:`cohobate.branch`); the papers number it last. It learns from the peers, does not teach them,
        and is not part of the attention.
    Leader's target (eq. 7 of the diversity paper): the mean of the auxiliary peers' logits; with
        ``leader_target="all"`` the mean includes the leader's.
    Gradients: the gradient of a target flows only into the attention module, which has no other loss: the
        features that it reads and the logits that it weighs are detached. With ``detach=False``, as in the
        public code, the gradient of the KL terms also flows into the peers that teach, and into the trunk.
    Ramp: as in ONE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Group, Method, Output, cross_entropy, float32
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Temperature, checked
from .group import check_several, peer_names, predictors, readouts, stack_logits, summed_cross_entropy
from .kd import softened_kl
from .one import RAMP, Ramp, ramp_up, summed_kl, weighted

Beta = Annotated[float, Ge(0), Doc("beta, weight of the KL term of the leader (second level).")]


@float32
def attend(query: Tensor, key: Tensor) -> Tensor:
    """How much each peer learns of each other, image by image.

    Args:
        query, key: (m - 1, B, d), projected features of the peers.

    Returns:
        (B, m - 1, m - 1): row a holds the weights of peer a's target, summing to 1.
    """
    return torch.softmax(torch.einsum("abd,cbd->bac", query, key), dim=2)  # alpha_ab


class SelfAttention(nn.Module):
    """Weights from the peers' own features.

    Args:
        features: D of ``Output.pooled``.

    Shapes: Outputs of m - 1 peers with pooled (B, D) -> (B, m - 1, m - 1), each row summing to 1.

    Raises:
        ValueError: when it runs, a peer without pooled features, or with other than D.
    """

    @checked
    def __init__(
        self,
        features: int,
        *,
        reduced: Annotated[
            int | None, Ge(1), Doc("d, dimensions that the attention projects features to; none: D / 8.")
        ] = None,
    ) -> None:
        super().__init__()
        reduced = max(1, features // 8) if reduced is None else reduced
        self.features = features
        self.query = nn.Linear(features, reduced, bias=False)
        self.key = nn.Linear(features, reduced, bias=False)

    @classmethod
    def of(cls, output: Output) -> Self:
        """Attention on the features before the classifier of the network that returned ``output``.

        Raises:
            ValueError: the network does not show them.
        """
        if output.pooled is None:
            raise ValueError(
                "self-attention reads the features before the classifier, which this network does not show; "
                "name its classifier to cohobate.adapt(network, head=...), or take the fusion module (ffm)"
            )
        return cls(output.pooled.shape[1])

    def forward(self, peers: Sequence[Output]) -> Tensor:
        h = torch.stack([self._pooled(peer) for peer in peers])
        return attend(self.query(h), self.key(h))

    def _pooled(self, peer: Output) -> Tensor:
        if peer.pooled is None or peer.pooled.shape[1] != self.features:
            width = None if peer.pooled is None else peer.pooled.shape[1]
            raise ValueError(
                f"self-attention compares pooled features of {self.features} numbers, a peer has {width}; "
                "peers need equal widths before their classifiers (cohobate.adapt finds the features)"
            )
        return peer.pooled


class TwoLevel(Method):
    """Peers learn from weighted ensembles of the peers, the leader from all peers.

    Terms: ``ce_leader``; ``ce_peers`` and ``kl_peers``, summed over the auxiliary peers; ``kl_leader``.

    Args:
        group: two networks or more; the first is the leader, and is deployed.
        attention: Outputs of the auxiliary peers -> weights (B, m - 1, m - 1), or (B, 1, m - 1) where one
            target serves all.

    Raises:
        ValueError: one network only, or an option is out of range.
    """

    @checked
    def __init__(
        self,
        group: Group,
        attention: nn.Module,
        *,
        alpha: Annotated[
            float, Ge(0), Doc("alpha, weight of the KL terms of the peers (first level).")
        ] = 1.0,
        beta: Beta = 1.0,
        temperature: Temperature = 3.0,
        ramp: Ramp = RAMP,
        detach: Annotated[
            bool,
            Doc(
                "Stop the gradient at the logits in the targets of the KL terms, not at the weights that the "
                "attention gives them; off: it flows into both."
            ),
        ] = True,
        leader_target: Annotated[
            Literal["peers", "all"],
            Doc("Networks whose mean logits are the target of the leader (eq. 7): its peers, or all."),
        ] = "peers",
    ) -> None:
        super().__init__()
        check_several(group, "two-level distillation, with a leader,")
        self.group = group
        self.attention = attention
        self.alpha = alpha
        self.beta = beta
        self.temperature = Course.of(temperature)
        self.ramp = ramp
        self.detach = detach
        self.leader_target = leader_target
        self.peer_readouts = peer_names(len(group) - 1)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        leader, *peers = self.group(batch.x)
        logits = stack_logits(peers)
        teachers = [peer.detach() for peer in peers] if self.detach else peers
        taught = logits.detach() if self.detach else logits
        targets = weighted(self.attention(teachers), taught)  # Eq. 4 of the diversity paper
        temperature = now(self.temperature, batch, "the temperature of two-level distillation")
        kl_peers = summed_kl(logits, targets, temperature=temperature)  # Eq. 6
        target = self._leader_target(taught, leader.logits)
        kl_leader = softened_kl(leader.logits, target, temperature=temperature)  # Eq. 7
        ramp = ramp_up(batch, self.ramp, "two-level distillation")
        return {  # Eq. 8
            "ce_leader": cross_entropy(leader.logits, batch.y),
            "ce_peers": summed_cross_entropy(logits, batch.y),
            "kl_peers": self.alpha * ramp * kl_peers,
            "kl_leader": self.beta * ramp * kl_leader,
        }

    def _leader_target(self, peers: Tensor, leader: Tensor) -> Tensor:
        if self.leader_target == "peers":
            return peers.mean(dim=0)
        own = leader.detach() if self.detach else leader
        return torch.cat([peers, own[None]]).mean(dim=0)

    def predictors(self) -> dict[str, nn.Module]:
        leader = {"leader": Classifier(self.group.alone(0))}
        return {**leader, **predictors(self.group, range(1, len(self.group)))}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        leader, *peers = self.group(x)
        return {"leader": leader.logits, **readouts(peers)}
