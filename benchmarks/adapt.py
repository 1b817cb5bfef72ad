"""What `adapt` costs over the bare network's forward and backward.

    OMP_NUM_THREADS=1 python benchmarks/adapt.py [--pairs 20] [--steps 3]

Both sides run the same weights on the same images, in turn, pair by pair, so that a change of the
machine's speed meets both. Every pair has fresh copies: where a network's tensors happen to lie in
memory can change its speed by a tenth, for all of a run. Printed: the median ratio and a 95 percent
interval of the median (order statistics). Bar: the upper limit at most 1.05. A library that cannot be
imported is not measured.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from pairs import median_interval, seconds
from torch import Tensor, nn

from cohobate.core import as_output
from cohobate.models.surgery.adapt import adapt


class BasicBlock(nn.Module):
    """As torchvision writes it, so that it is gated."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = nn.Sequential(
            nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.downsample(x)
        result: Tensor = self.relu(out)
        return result


def by_hand() -> nn.Module:
    """A small residual network: the smaller a layer, the more a hook would show."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
        BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 100),
    )  # fmt: skip


def torchvision_resnet18() -> nn.Module:
    models: Any = importlib.import_module("torchvision").models
    network: nn.Module = models.resnet18(weights=None, num_classes=100)
    return network


def timm_resnet18() -> nn.Module:
    network: nn.Module = importlib.import_module("timm").create_model("resnet18", num_classes=100)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "torchvision:resnet18": torchvision_resnet18,
    "timm:resnet18": timm_resnet18,
    "by hand": by_hand,
}


def passes(network: nn.Module, x: Tensor, y: Tensor, steps: int) -> Callable[[], None]:
    """Forward and backward, several times; whatever the network returns, the loss is the logits'."""

    def go() -> None:
        for _ in range(steps):
            network.zero_grad(set_to_none=True)
            F.cross_entropy(as_output(network(x)).logits, y).backward()

    return go


def measure(name: str, options: argparse.Namespace, device: torch.device) -> None:
    try:
        network = NETWORKS[name]().to(device).train()
    except (ImportError, OSError, RuntimeError) as error:
        print(f"{name:21} not measured: {error}")
        return
    x = torch.randn(options.batch_size, 3, options.size, options.size, device=device)
    y = torch.randint(100, (options.batch_size,), device=device)
    both = network, adapt(deepcopy(network), shape=(3, options.size, options.size))
    pairs = []
    for i in range(options.pairs):
        # Which one comes first alternates, in memory and in time.
        order = (0, 1) if i % 2 == 0 else (1, 0)
        copies = {side: deepcopy(both[side]) for side in order}
        for side in order:
            passes(copies[side], x, y, 1)()
        times = {side: seconds(passes(copies[side], x, y, options.steps), device) for side in order}
        pairs.append((times[1], times[0]))
    middle, low, high = median_interval([a / b for a, b in pairs])
    a, b = (1000 * statistics.median(side) / options.steps for side in zip(*pairs, strict=True))
    print(
        f"{name:21} adapted {a:8.2f} ms   bare {b:8.2f} ms   ratio {middle:.3f} [{low:.3f}, {high:.3f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3, help="steps in one measurement")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(
        f"batch {options.batch_size}, {options.size} x {options.size}, fp32, median of {options.pairs} pairs "
        f"of {options.steps} steps; torch {torch.__version__}, {where}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads"
    )
    for name in NETWORKS:
        measure(name, options, device)


if __name__ == "__main__":
    main()
