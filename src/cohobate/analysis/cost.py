"""The cost of a network: parameters, multiply-accumulates, batch-norm outputs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode


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


def parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Number of parameters; only those that require a gradient if ``trained``."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def cost(network: nn.Module, shape: tuple[int, int, int] = (3, 32, 32)) -> Cost:
    """The cost of one image of ``shape`` = (C, H, W); the network is not changed."""
    outputs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    modes = {module: module.training for module in network.modules()}
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, _BatchNorm)]
    like = next(network.parameters(), torch.zeros(()))
    try:
        network.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            # FlopCounterMode fails on a parameter with requires_grad that is an argument of a module.
            detached = {name: p.detach() for name, p in network.named_parameters()}
            image = torch.zeros(1, *shape, device=like.device, dtype=like.dtype)
            functional_call(network, detached, (image,))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return Cost(parameters(network), counter.get_total_flops() // 2, outputs)
