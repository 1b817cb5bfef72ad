"""Which feature maps a built-in network returns as its stages: ours, or those of the public benchmark.

The public CIFAR-100 benchmark of distillation (after Tian, Krishnan, Isola: Contrastive Representation
Distillation, ICLR 2020) reads two of its networks elsewhere: of a wide ResNet the raw sum that a stage ends
with, without the batch norm and ReLU that open the next one; of a VGG the last four of its five stages.
All other built-in networks are read alike in both. Stages before their last ReLU are the same in both
readings, but for the VGG's first.
"""

from __future__ import annotations

from torch import nn

from ..core import Taps
from .backbones.vgg import VGG
from .backbones.wrn import WideResNet

BACKBONES = WideResNet.__module__.rpartition(".")[0]


def read_taps(network: nn.Module, taps: Taps) -> bool:
    """Let a network, which may lie inside another module, return these stages from now on.

    Returns:
        Whether it is a built-in network; the stages of others stay as they are.
    """
    for module in network.modules():
        if isinstance(module, WideResNet | VGG):
            module.taps = taps
    return any(type(module).__module__.startswith(f"{BACKBONES}.") for module in network.modules())
