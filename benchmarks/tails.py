"""The tails of a branched network run in three ways: one after the other, by vmap, as grouped convolutions.

Measured by ``branches.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from pairs import compare
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cohobate.core import Batch
from cohobate.models.surgery.branch import Branched


def to(module: nn.Module, device: torch.device) -> None:
    module.train().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


class InTurn(nn.Module):
    """Values at the cut -> logits, (m, B, K)."""

    def __init__(self, tails: Sequence[nn.Module]) -> None:
        super().__init__()
        self.tails = nn.ModuleList(deepcopy(tail) for tail in tails)

    def forward(self, *values: Tensor) -> Tensor:
        return torch.stack([tail(*values).logits for tail in self.tails])

    def state(self) -> dict[str, Tensor]:
        """Parameters' gradients and statistics of all tails, behind one another."""
        return {
            name: torch.cat([_tensor(tail, name).flatten() for tail in self.tails])
            for name in _names(self.tails[0])
        }


class Vmapped(nn.Module):
    """The same by vmap over stacked weights."""

    def __init__(self, tails: Sequence[nn.Module]) -> None:
        super().__init__()
        self.bones = (deepcopy(tails[0]).to("meta"),)
        self.weights, self.statistics = (
            {name: torch.stack([m[name].detach() for m in members]) for name in members[0]}
            for members in (
                [dict(tail.named_parameters()) for tail in tails],
                [dict(tail.named_buffers()) for tail in tails],
            )
        )
        for weight in self.weights.values():
            weight.requires_grad_()

    def forward(self, *values: Tensor) -> Tensor:
        def one(weights: dict[str, Tensor], statistics: dict[str, Tensor]) -> Tensor:
            logits: Tensor = functional_call(self.bones[0], (weights, statistics), values).logits
            return logits

        logits: Tensor = vmap(one)(self.weights, self.statistics)
        return logits

    def state(self) -> dict[str, Tensor]:
        tensors = self.weights | self.statistics
        return {name: _gradient(tensors[name]).flatten() for name in _names(self.bones[0])}


class Grouped(nn.Module):
    """The same with one convolution of groups for the convolutions of all tails.

    What only the trunk feeds becomes a convolution of m times the outputs; a batch norm has m times the
    channels, a linear layer is one batched product; everything else is as it is in one tail.
    """

    def __init__(self, tails: Sequence[nn.Module]) -> None:
        super().__init__()
        self.tail = deepcopy(tails[0])
        nodes = list(self.tail.graph.nodes)  # type: ignore[union-attr, arg-type]
        shared = {node for node in nodes if node.op == "placeholder"}
        for node in nodes:
            if node.op == "call_module":
                members = [tail.get_submodule(node.target) for tail in tails]
                self.tail.set_submodule(node.target, joined(members, node.args[0] in shared))

    def forward(self, *values: Tensor) -> Tensor:
        logits: Tensor = self.tail(*values).logits
        return logits

    def state(self) -> dict[str, Tensor]:
        return {name: _tensor(self.tail, name).flatten() for name in _names(self.tail)}


class Linears(nn.Module):
    """m linear layers, each on its own part of the features: (B, m D) -> (m, B, K)."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([m.weight.detach() for m in members]))  # type: ignore[operator]
        self.bias = nn.Parameter(torch.stack([m.bias.detach() for m in members]))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


def joined(members: Sequence[nn.Module], shared: bool) -> nn.Module:
    """One module for those of all tails; ``shared`` is their input, or each has its own channels of it.

    Raises:
        ValueError: a kind of module that has weights and cannot be joined.
    """
    first, m = members[0], len(members)
    one: nn.Module
    if isinstance(first, nn.Conv2d) and not (shared and first.groups > 1):
        apart = 1 if shared else m
        one = nn.Conv2d(
            first.in_channels * apart,
            first.out_channels * m,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            first.dilation,  # type: ignore[arg-type]
            first.groups * apart,
            first.bias is not None,
        )
    elif isinstance(first, nn.BatchNorm2d):
        one = nn.BatchNorm2d(first.num_features * m, first.eps, first.momentum)
    elif isinstance(first, nn.Linear):
        return Linears(members)
    elif isinstance(first, nn.Sequential):
        steps = enumerate(zip(*members, strict=True))
        return nn.Sequential(*(joined(each, shared and i == 0) for i, each in steps))
    elif not list(first.parameters()):
        return first
    else:
        raise ValueError(f"{type(first).__name__} cannot be joined")
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            parameter.copy_(torch.cat([member.get_parameter(name) for member in members]))
    return one


def _names(tail: nn.Module) -> list[str]:
    """Parameters, and buffers but for the counters."""
    tensors = [*tail.named_parameters(), *tail.named_buffers()]
    return [name for name, tensor in tensors if tensor.is_floating_point()]


def _tensor(tail: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    tensor: Tensor = getattr(tail.get_submodule(path), last)
    return _gradient(tensor)


def _gradient(tensor: Tensor) -> Tensor:
    return tensor if tensor.grad is None else tensor.grad


Tails = InTurn | Vmapped | Grouped


def run_tails(tails: Tails, values: Sequence[Tensor], y: Tensor, bf16: bool) -> Tensor:
    """Forward and backward; the gradient that the trunk would get."""
    last = values[-1].detach().requires_grad_()
    with torch.autocast(y.device.type, torch.bfloat16, enabled=bf16):
        logits = tails(*values[:-1], last)
    loss = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)))
    for parameter in tails.weights.values() if isinstance(tails, Vmapped) else tails.parameters():
        parameter.grad = None
    loss.backward()
    assert last.grad is not None
    return last.grad


def check_tails(group: Branched, kinds: Sequence[Callable[[Sequence[nn.Module]], Tails]], x: Tensor) -> None:
    """Gradients, those of the trunk too, and batch-norm statistics are the same in every kind."""
    group = deepcopy(group).double().train()
    values = [value.detach() for value in group.trunk(x.double())]
    y = torch.arange(len(x), device=x.device)
    found = []
    for kind in kinds:
        tails = kind(list(group.tails)).train().double()
        gradient = run_tails(tails, values, y, bf16=False)
        found.append({**tails.state(), "input": gradient})
    for other in found[1:]:
        same(other, found[0])


def same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """The same numbers under each name: gradients, where there are any."""
    assert ours.keys() == theirs.keys()
    for name, one in ours.items():
        two = theirs[name]
        assert (one.grad is None) == (two.grad is None), name
        one, two = _gradient(one), _gradient(two)
        torch.testing.assert_close(one.flatten(), two.flatten(), rtol=1e-6, atol=1e-8, msg=name)


def tails_step(tails: Tails, values: Sequence[Tensor], y: Tensor, bf16: bool) -> Callable[[], None]:
    def go() -> None:
        run_tails(tails, values, y, bf16)

    return go


def measure_tails(at: int, group: Branched, batch: Batch, options: argparse.Namespace) -> None:
    """Print the tails of a group, each way, over those run in turn."""
    device = batch.x.device
    kinds: dict[str, Callable[[Sequence[nn.Module]], Tails]] = {
        "in turn": InTurn,
        "grouped": Grouped,
        "vmap": Vmapped,
    }
    check_tails(group, list(kinds.values()), batch.x[:8])
    for precision in options.precision:
        bf16 = precision == "bf16"
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            values = [value.clone() for value in group.trunk(batch.x)]
        sides = {}
        for kind, make in kinds.items():
            if bf16 and kind == "vmap":
                continue
            tails = make(list(group.tails))
            if kind == "vmap":
                tails.train()
            else:
                to(tails, device)
            if options.compile:
                tails.compile(fullgraph=True, dynamic=False)
            sides[kind] = tails_step(tails, values, batch.y, bf16)
        for kind in [kind for kind in sides if kind != "in turn"]:
            title = f"{options.networks} tails behind stage {at}, {precision}, {kind} / in turn"
            compare(title, sides[kind], sides["in turn"], options.pairs, device)
