"""The cost of a network: parameters, multiply-accumulates, batch-norm outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from ..core import Shape, as_output, mode
from .needed import Dependencies, storage


class Cost(NamedTuple):
    """The cost of one forward pass over one image.

    Attributes:
        parameters: number of parameters, without buffers.
        macs: multiply-accumulates of convolutions and matrix products.
        norm_outputs: number of values that batch norms return.
    """

    parameters: int
    macs: int
    norm_outputs: int

    @property
    def flops(self) -> int:
        """Multiply-accumulates plus two per batch-norm output, called FLOPs in ResKD."""
        return self.macs + 2 * self.norm_outputs


class ReadOutCost(NamedTuple):
    """What the logits of a read-out need for one image.

    Attributes:
        parameters: number of parameters, without buffers.
        macs: multiply-accumulates of convolutions and matrix products.
    """

    parameters: int
    macs: int


def parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Number of parameters; only those that require a gradient if ``trained``."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def cost(network: nn.Module, shape: Shape = (3, 32, 32)) -> Cost:
    """The cost of one image of ``shape`` = (C, H, W); the network is not changed."""
    outputs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, _BatchNorm)]
    try:
        with _one_image(network, shape) as forward, FlopCounterMode(display=False) as counter:
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(parameters(network), counter.get_total_flops() // 2, outputs)


def needed(predictor: nn.Module, shape: Shape = (3, 32, 32)) -> ReadOutCost:
    """What the logits of one image need, of ``shape`` = (C, H, W): an early exit no layer behind it.

    Args:
        predictor: images -> logits or Output; it is not changed. What it computes in vain is not counted.
        shape: of the image.
    """
    counter = FlopCounterMode(display=False)
    operations = Dependencies(counter.get_total_flops)
    with _one_image(predictor, shape) as forward, counter, operations:
        logits = as_output(forward()).logits
    flops, read = operations.behind(logits)
    used = sum(p.numel() for p in predictor.parameters() if storage(p) in read)
    return ReadOutCost(used, flops // 2)


def readout_costs(predictors: Mapping[str, nn.Module], shape: Shape) -> dict[str, ReadOutCost]:
    """The cost of each read-out of a method; the first, which is deployed, counts as it is stored: whole.

    Args:
        predictors: name -> images -> logits.
        shape: (C, H, W) of an image.
    """
    (first, deployed), *others = predictors.items()
    whole = cost(deployed, shape)
    costs = {first: ReadOutCost(whole.parameters, whole.macs)}
    return costs | {name: needed(predictor, shape) for name, predictor in others}


@contextmanager
def _one_image(network: nn.Module, shape: Shape) -> Iterator[Callable[[], object]]:
    """A function that runs the network on one image, in evaluation mode and without gradients."""
    like = next(network.parameters(), torch.zeros(()))
    # FlopCounterMode fails on a parameter with requires_grad that is an argument of a module.
    detached = {name: p.detach() for name, p in network.named_parameters()}
    image = torch.zeros(1, *shape, device=like.device, dtype=like.dtype)
    with mode(network, training=False), torch.no_grad():
        yield lambda: functional_call(network, detached, (image,))
