"""Puts the classes of a network into another order, in the rows of its last layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...core import Shape
from .probe import look


@torch.no_grad()
def reorder_head(network: nn.Module, order: Sequence[int], shape: Shape) -> bool:
    """Permute the rows of the layer that gives the logits, in place.

    Args:
        network: images -> Output or logits.
        order: for each class, the position of its logit as it is.
        shape: (C, H, W) of its images.

    Returns:
        Whether the logits are permuted now; if no single layer gives them, the network is as it was.
    """
    seen = look(network, shape)
    rows = torch.tensor(order, device=seen.output.logits.device)
    wanted = seen.output.logits.index_select(1, rows)
    for call in reversed(seen.calls):
        layer = call.module
        if not isinstance(layer, nn.Linear | nn.Conv2d) or len(layer.weight) != len(order):
            continue
        before = [(parameter, parameter.clone()) for parameter in layer.parameters(recurse=False)]
        for parameter, old in before:
            parameter.copy_(old.index_select(0, rows))
        if torch.allclose(look(network, shape).output.logits, wanted, rtol=1e-4, atol=1e-6):
            return True
        for parameter, old in before:
            parameter.copy_(old)
    return False
