"""Shared by the methods that train several networks: names, predictors, read-outs, summed cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from ..core import Classifier, Group, Mean, Output, Separate, cross_entropy
from ..core.options import Doc

Detach = Annotated[bool, Doc("Stop the gradient at the targets of the KL terms; off: it flows into them.")]


def peer_names(count: int) -> tuple[str, ...]:
    """``peer_1``, ``peer_2``, ..."""
    return tuple(f"peer_{i}" for i in range(1, count + 1))


def predictors(group: Group, members: Sequence[int]) -> dict[str, nn.Module]:
    """Each member as a plain network, ``peer_1`` the first; where there are several, their ensemble.

    Args:
        group: the networks.
        members: which of them, numbered from 0.
    """
    networks = [group.alone(i) for i in members]
    named: dict[str, nn.Module] = dict(zip(peer_names(len(networks)), map(Classifier, networks), strict=True))
    if len(networks) == 1:
        return named
    if isinstance(group, Separate):
        return {**named, "ensemble": Classifier(Mean(networks, features=False))}
    return {**named, "ensemble": Ensemble(group, members)}


class Ensemble(nn.Module):
    """Images -> mean logits of some networks of a group; what these share is computed once.

    Args:
        group: the networks, with the weights that they have in training.
        members: which of them, numbered from 0.
    """

    def __init__(self, group: Group, members: Sequence[int]) -> None:
        super().__init__()
        self.group = group
        self.members = tuple(members)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)."""
        outputs = self.group(x)
        return stack_logits([outputs[i] for i in self.members]).mean(dim=0)


def readouts(outputs: Sequence[Output]) -> dict[str, Tensor]:
    """The logits of :func:`predictors`, computed from the members' outputs, (B, K) each."""
    logits = [output.logits for output in outputs]
    named = dict(zip(peer_names(len(logits)), logits, strict=True))
    return named | ({"ensemble": torch.stack(logits).mean(dim=0)} if len(logits) > 1 else {})


def stack_logits(outputs: Sequence[Output]) -> Tensor:
    """(m, B, K) or (m, B, K, H, W), of m networks.

    Raises:
        ValueError: they predict different classes.
    """
    logits = [output.logits for output in outputs]
    shapes = [tuple(each.shape) for each in logits]
    # Compared one by one: a size that is a symbol, while torch.export captures the network, has no hash.
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"networks that learn from one another must predict the same classes, got {shapes}")
    return torch.stack(logits)


def others(logits: Tensor) -> Tensor:
    """For every network the logits of all others: (m, ...) -> (m - 1, m, ...), column i without network i."""
    return torch.stack([logits.roll(k, dims=0) for k in range(1, len(logits))])


def summed_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The sum over m networks of :func:`cohobate.core.cross_entropy`, as one call.

    Args:
        logits: (m, B, K) or (m, B, K, H, W).
        y: ids, (B,) or (B, H, W), where -100 is ignored; or probabilities of one network's logits' shape.
    """
    count = len(logits)
    # All networks ignore the same positions, so the mean over all is the mean of the networks' means.
    return count * cross_entropy(logits.flatten(0, 1), y.expand(count, *y.shape).flatten(0, 1))


def check_several(group: Group, method: str) -> None:
    """Raise a ValueError that names the method where the group has fewer than two networks."""
    if len(group) < 2:
        raise ValueError(f"{method} needs two networks or more, got {len(group)}")
