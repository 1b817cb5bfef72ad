"""CL-ILR: several heads on one trunk, each of which learns from the consensus of the others.

Song, Chai: Collaborative Learning for Deep Neural Networks, NeurIPS 2018.

    z^(h)           logits of head h
    H               len(group)
    q^(h)           consensus       softened mean of the other heads' logits
    beta            beta            share of the cross-entropy
    T               temperature     T > 1 softens predictions
    ILR             values of the trunk that the tails take

Choices.
    Sharing: one branching point, of any number of heads; the paper also has a tree of them.
    Rescaling: the sum of the heads' gradients is divided by their number before the trunk, whose learning
        rate is then that of one head. ``rescale=False``: the trunk gets the sum.
    Gradients: q^(h) is a constant; with ``detach=False`` the soft loss of a head also trains the others.
    Soft loss: KL, while the paper has the cross-entropy with q^(h). They differ by the entropy of q^(h),
        a constant if q^(h) is detached; KL is zero if the heads agree.
    T^2: inside the soft loss, as in KD. Without it the loss is, up to its scale, ours with
        T^2 beta / (T^2 beta + 1 - beta) in beta's place: 0.8 for the settings beta = 0.5, T = 2.
    Public code: we know of none by the authors. A reproduction by others has beta = 0.5, T = 2, a constant
        q^(h) and no T^2. OKDDip's code has CL-ILR as a baseline, with T = 3, T^2, weight 1 for both losses,
        the ramp of ONE for the soft loss, and no detaching.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..core import Batch, Group, Method, Output, float32
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Temperature, checked
from . import group as peers
from .group import Detach
from .kd import softened_kl


@float32
def consensus(logits: Tensor) -> Tensor:
    """For every head the mean of the other heads' logits; takes and gives (H, B, K) or (H, B, K, h, w)."""
    return peers.others(logits).mean(0)  # q^(h), before the softened softmax


def rescaled(value: Any, heads: int) -> Any:
    """A value that the trunk passes to the tails, with its gradient divided by the number of heads."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    # Both ends are equal and one is constant: the value is exact, its gradient is divided by ``heads``.
    return torch.lerp(value.detach(), value, 1 / heads)


class CLILR(Method):
    """Branches learn from each other's mean, the gradient of the trunk rescaled (Song and Chai, 2018).

    beta CE + (1 - beta) T^2 KL(the others' consensus || head), summed over the heads.

    Args:
        group: a branched network, whose trunk gives a tuple of values that each of its tails takes.

    Raises:
        ValueError: a group without trunk and tails, of one tail, or an option out of range.
    """

    @checked
    def __init__(
        self,
        group: Group,
        *,
        beta: Annotated[
            float,
            Ge(0),
            Le(1),
            Doc("beta, share of the cross-entropy in the loss; the KL term has 1 - beta."),
        ] = 0.5,
        temperature: Temperature = 2.0,
        detach: Detach = True,
        rescale: Annotated[
            bool, Doc("Give the trunk the mean of the branches' gradients; off: their sum.")
        ] = True,
    ) -> None:
        super().__init__()
        if not hasattr(group, "trunk") or not hasattr(group, "tails"):
            raise ValueError(
                f"CLILR needs a group with a trunk and tails (cohobate.branch makes one), "
                f"got {type(group).__name__}"
            )
        peers.check_several(group, "CLILR")
        self.group: Any = group
        self.beta = beta
        self.temperature = Course.of(temperature)
        self.detach = detach
        self.rescale = rescale
        self.peer_readouts = peers.peer_names(len(group))

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        logits = peers.stack_logits(self._heads(batch.x))
        target = consensus(logits.detach() if self.detach else logits)
        temperature = now(self.temperature, batch, "the temperature of CL-ILR")
        soft = softened_kl(logits.flatten(0, 1), target.flatten(0, 1), temperature=temperature)
        return {
            "ce": self.beta * peers.summed_cross_entropy(logits, batch.y),
            "kl": (1 - self.beta) * len(logits) * soft,
        }

    def _heads(self, x: Tensor) -> list[Output]:
        values = self.group.trunk(x)
        if self.rescale:
            values = [rescaled(value, len(self.group)) for value in values]
        return [tail(*values) for tail in self.group.tails]

    def predictors(self) -> dict[str, nn.Module]:
        return peers.predictors(self.group, range(len(self.group)))

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return peers.readouts(self.group(x))
