"""What the step of a branched network costs, and whether its tails are cheaper batched or grouped.

    OMP_NUM_THREADS=1 python benchmarks/branches.py [--pairs 15] [--precision fp32 bf16] [--compile]

OKDDip (the last stage and the classifier branched) and FFM + CD (the last two stages) with m = 4 on
ResNet-32. Printed for each: its step over a plain step of the network, beside what the
multiply-accumulates alone would make it; then over the same method written the plain way, a loop over
branches with a cross-entropy and a KL for each, after a check in float64 that both give the same loss,
gradients and batch-norm statistics. A step is forward, losses, backward and SGD. Bars: at most 1.6 plain
steps for OKDDip, and nowhere slower than the plain way.

Then the tails alone, forward and backward, over those run in turn: ``vmap`` over stacked weights, and
``grouped``, where the convolutions of all tails are one of groups. Both are checked in float64 too.
Autocast does not reach inside vmap on a CPU, so vmap is measured in fp32 only.

The two sides run in turn, pair by pair; the median ratio and a 95 percent interval of the median (order
statistics). Compiling happens before the time measured.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import combinations

import torch
import torch.nn.functional as F
from pairs import compare
from tails import measure_tails, same, to
from torch import Tensor, nn

from cohobate.core import Batch, Method
from cohobate.methods.ffm_cd import Diversified, FeatureFusion
from cohobate.methods.okddip import SelfAttention, TwoLevel
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build
from cohobate.models.surgery.branch import Branched, branch, branch_points

CLASSES, SHAPE = 100, (3, 32, 32)
AT = {"okddip": 2, "ffm_cd": 1}
"""Stages that the branches share, as each paper has it."""
T = 3.0


def images(count: int, device: torch.device) -> Batch:
    x = torch.randn(count, *SHAPE, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(CLASSES, (count,), device=device)
    return Batch((x,), y, progress=torch.tensor(0.1, device=device))


# ---------------------------------------------------------------- the methods


def okddip(group: Branched, width: int) -> Method:
    return TwoLevel(group, SelfAttention(width), temperature=T)


def ffm_cd(group: Branched, width: int) -> Method:
    fusion = FeatureFusion(width, len(group) - 1)
    method = TwoLevel(group, fusion, alpha=1, beta=2, temperature=T)
    return Diversified(method, [tail.get_submodule("fc") for tail in group.tails], gamma=5e-8)


class ByHand(nn.Module):
    """OKDDip as one would write it for this network: a loop over branches, a loss after another.

    The first branch leads. Every network after the first holds the first one's modules for the trunk.
    """

    def __init__(self, group: Branched, at: int, attention: nn.Module) -> None:
        super().__init__()
        self.at = at
        self.networks = nn.ModuleList(group.alone(i) for i in range(len(group)))
        first, *others = self.networks
        for network in others:
            network.conv, network.bn = first.conv, first.bn
            for stage in range(at):
                network.stages[stage] = first.stages[stage]  # type: ignore[index, operator]
        self.attention = deepcopy(attention)
        self.beta = 1.0

    def forward(self, batch: Batch) -> Tensor:
        x, y, progress = batch.x, batch.y, batch.progress
        assert progress is not None
        ramp = torch.exp(-5 * (1 - (progress * 300 / 80).clamp(max=1)) ** 2)
        first = self.networks[0]
        x = F.relu(first.bn(first.conv(x)))  # type: ignore[operator]
        x = self.blocks(first, range(self.at), x)
        maps = [self.blocks(network, range(self.at, 3), x) for network in self.networks]
        pooled = [each.mean(dim=(2, 3)) for each in maps]
        logits = [network.fc(h) for network, h in zip(self.networks, pooled, strict=True)]  # type: ignore[operator]
        constant = [z.detach() for z in logits[1:]]
        targets = self.targets([h.detach() for h in pooled[1:]], [f.detach() for f in maps[1:]], constant)
        loss = F.cross_entropy(logits[0], y)
        for z, target in zip(logits[1:], targets, strict=True):
            loss = loss + F.cross_entropy(z, y) + ramp * kl(z, target)
        mean: Tensor = sum(constant) / len(constant)
        return loss + self.beta * ramp * kl(logits[0], mean) + self.penalty()

    def blocks(self, network: nn.Module, stages: range, x: Tensor) -> Tensor:
        for stage in stages:
            for block in network.stages[stage]:  # type: ignore[index]
                x, _ = block(x)
        return x

    def targets(self, pooled: list[Tensor], maps: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        queries = [self.attention.query(h) for h in pooled]  # type: ignore[operator]
        keys = [self.attention.key(h) for h in pooled]  # type: ignore[operator]
        targets = []
        for query in queries:
            weights = torch.stack([(query * key).sum(dim=1) for key in keys], dim=1).softmax(dim=1)
            targets.append(sum(weights[:, i : i + 1] * z for i, z in enumerate(logits)))
        return targets  # type: ignore[return-value]

    def penalty(self) -> Tensor | float:
        return 0.0


class FusedByHand(ByHand):
    """FFM + CD in the same way."""

    def __init__(self, group: Branched, at: int, attention: nn.Module) -> None:
        super().__init__(group, at, attention)
        self.beta = 2.0

    def targets(self, pooled: list[Tensor], maps: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
        fused = self.attention.block(torch.cat(maps, dim=1)).mean(dim=(2, 3))  # type: ignore[operator]
        weights = self.attention.fc(fused).softmax(dim=1)  # type: ignore[operator]
        target: Tensor = sum(weights[:, i : i + 1] * z for i, z in enumerate(logits))
        return [target] * len(logits)

    def penalty(self) -> Tensor | float:
        weights: list[Tensor] = [network.fc.weight for network in self.networks]  # type: ignore[union-attr, misc]
        return 5e-8 * sum((one @ two.T).abs().sum() for one, two in combinations(weights, 2))


def kl(logits: Tensor, target: Tensor) -> Tensor:
    divergence = F.kl_div(
        F.log_softmax(logits / T, dim=1), F.softmax(target / T, dim=1), reduction="batchmean"
    )
    return divergence * T**2


METHODS: Mapping[str, tuple[Callable[[Branched, int], Method], type[ByHand]]] = {
    "okddip": (okddip, ByHand),
    "ffm_cd": (ffm_cd, FusedByHand),
}


def two_level(method: Method) -> TwoLevel:
    found = method.method if isinstance(method, Diversified) else method
    assert isinstance(found, TwoLevel)
    return found


def check_method(method: Method, by_hand: ByHand, batch: Batch) -> None:
    """Both must be the same training pass: loss, gradients and batch-norm statistics."""
    method, by_hand = deepcopy(method).double(), deepcopy(by_hand).double()
    batch = batch._replace(views=(batch.x.double(),))
    losses = [torch.stack(list(method(batch).values())).sum(), by_hand(batch)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(*losses)
    ours = two_level(method)
    group = ours.group
    same(dict(by_hand.attention.named_parameters()), dict(ours.attention.named_parameters()))
    for i, network in enumerate(by_hand.networks):
        parts = [group.get_submodule(path) for path in ("trunk", f"tails.{i}")]
        parameters, buffers = (
            {name: tensor for part in parts for name, tensor in getattr(part, kind)()}
            for kind in ("named_parameters", "named_buffers")
        )
        same(dict(network.named_parameters()), parameters)
        same(dict(network.named_buffers()), buffers)


# ---------------------------------------------------------------- the measuring


def step(module: nn.Module, batch: Batch, bf16: bool, compiled: bool) -> Callable[[], None]:
    """A training step of a method, or of a module whose loss is one number."""
    fused = batch.x.device.type == "cuda"
    optimizer = torch.optim.SGD(
        module.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=fused
    )
    if compiled:
        module.compile(fullgraph=True, dynamic=False)

    def go() -> None:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=bf16):
            losses = module(batch)
        loss = torch.stack(list(losses.values())).sum() if isinstance(losses, dict) else losses
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return go


def measure_method(name: str, options: argparse.Namespace, device: torch.device) -> None:
    network, at = build(options.model, CLASSES), AT[name]
    sizes = branch_points(network)[at - 1].sizes
    assert sizes is not None
    trunk, tail = (size.macs for size in sizes)
    expected = (trunk + options.networks * tail) / (trunk + tail)
    make, hand = METHODS[name]
    method = make(branch(network, at, options.networks), network.fc.in_features)  # type: ignore[union-attr, arg-type]
    ours = two_level(method)
    assert isinstance(ours.group, Branched)
    by_hand = hand(ours.group, at, ours.attention)
    plain = Supervised(network)
    for module in (method, by_hand, plain):
        to(module, device)
    check_method(method, by_hand, images(8, device))
    batch = images(options.batch_size, device)
    for precision in options.precision:
        bf16, how = precision == "bf16", "compiled" if options.compile else "eager"
        sides = [step(deepcopy(m), batch, bf16, options.compile) for m in (method, plain, by_hand)]
        title = f"{name}, m = {options.networks}, {precision} {how}"
        compare(f"{title}, over plain ({expected:.2f})", sides[0], sides[1], options.pairs, device)
        compare(f"{title}, over by hand", sides[0], sides[2], options.pairs, device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", nargs="+", default=[*METHODS, "tails"], choices=[*METHODS, "tails"])
    parser.add_argument("--model", default="resnet32", choices=["resnet20", "resnet32", "resnet56"])
    parser.add_argument("--networks", type=int, default=4, help="m, the leader included")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(
        f"{options.model}, batch {options.batch_size}, channels last, median of {options.pairs} pairs; "
        f"torch {torch.__version__}, {where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    for name in options.what:
        if name in METHODS:
            measure_method(name, options, device)
    if "tails" in options.what:
        for at in sorted(set(AT.values()), reverse=True):
            group = branch(build(options.model, CLASSES), at, options.networks)
            to(group, device)
            measure_tails(at, group, images(options.batch_size, device), options)


if __name__ == "__main__":
    main()
