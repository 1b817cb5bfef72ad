"""What SLKD's step costs, and whether running the SL-teachers as one batched network would be cheaper.

    OMP_NUM_THREADS=1 python benchmarks/slkd.py [--pairs 7] [--threads 1] [--precision fp32 bf16]

SL-teachers are the same network with other weights. `torch.func.vmap` over their stacked weights turns
every convolution into one of groups: fewer, larger calls. Printed for each teacher: the batched forward
and backward over those one after the other, after a check in float64 that both give the same gradients
and batch-norm statistics; then the step of SLKD over the student's own step, beside what the
multiply-accumulates alone would make it (a backward counted as two forwards). The two sides run in turn,
pair by pair; the median ratio and a 95 percent interval of the median (order statistics). The stacked
weights are made once, outside the time measured, which favours batching.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from pairs import compare
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cohobate.analysis.cost import cost
from cohobate.core import Batch, Frozen, Method, cross_entropy
from cohobate.methods.slkd import SLKD
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build

CLASSES, SHAPE = 100, (3, 32, 32)
PAIRS = {"resnet56": "resnet8", "vgg13": "vgg8", "wrn_40_2": "wrn_16_2"}
"""Teacher -> student, three of the paper's."""


class Batched(nn.Module):
    """Isomorphic networks as one: images -> logits, (m, B, K)."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.weights, self.state = stack_module_state([deepcopy(network) for network in networks])
        self.bones = deepcopy(networks[0]).to("meta")

    def forward(self, x: Tensor) -> Tensor:
        def one(weights: dict[str, Tensor], state: dict[str, Tensor]) -> Tensor:
            logits: Tensor = functional_call(self.bones, (weights, state), (x,)).logits
            return logits

        logits: Tensor = vmap(one)(self.weights, self.state)
        return logits


def make(name: str, device: torch.device) -> nn.Module:
    network = build(name, CLASSES).train()
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def images(count: int, device: torch.device) -> Batch:
    x = torch.randn(count, *SHAPE, device=device).contiguous(memory_format=torch.channels_last)
    return Batch((x,), torch.randint(CLASSES, (count,), device=device))


def check(networks: Sequence[nn.Module], x: Tensor) -> None:
    """Batched and one after the other must be the same training pass."""
    networks, x = [deepcopy(network).double() for network in networks], x.double()
    batched = Batched(networks)
    batched(x).square().sum().backward()
    for i, network in enumerate(networks):
        network(x).logits.square().sum().backward()
        for name, parameter in network.named_parameters():
            one, grad = batched.weights[name].grad, parameter.grad
            assert one is not None
            torch.testing.assert_close(one[i], grad, rtol=1e-6, atol=1e-8)
        for name, buffer in network.named_buffers():
            torch.testing.assert_close(batched.state[name][i], buffer)


def in_turn(networks: Sequence[nn.Module], batch: Batch, bf16: bool) -> Callable[[], None]:
    def go() -> None:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=bf16):
            losses = [cross_entropy(network(batch.x).logits, batch.y) for network in networks]
        torch.stack(losses).sum().backward()

    return go


def at_once(networks: Sequence[nn.Module], batch: Batch, bf16: bool) -> Callable[[], None]:
    batched = Batched(networks)

    def go() -> None:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=bf16):
            losses = [cross_entropy(logits, batch.y) for logits in batched(batch.x)]
        torch.stack(losses).sum().backward()

    return go


def step(method: Method, batch: Batch, bf16: bool) -> Callable[[], None]:
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def go() -> None:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=bf16):
            losses = method(batch)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return go


def measure(name: str, options: argparse.Namespace, device: torch.device) -> None:
    student, teacher = make(PAIRS[name], device), make(name, device)
    networks = [make(name, device) for _ in range(options.sl_teachers)]
    batch = images(options.batch_size, device)
    check(networks, images(8, device).x)
    macs = [cost(network, SHAPE).macs for network in (student, teacher)]
    expected = 1 + (3 * options.sl_teachers + 1) * macs[1] / (3 * macs[0])
    for precision in options.precision:
        bf16, pairs = precision == "bf16", options.pairs
        # Autocast does not reach inside vmap on a CPU: the two sides would not compute the same.
        if not bf16 or device.type == "cuda":
            sides = at_once(networks, batch, bf16), in_turn(networks, batch, bf16)
            compare(f"{name} {precision}, batched / in turn", *sides, pairs, device)
        both = SLKD(deepcopy(student), Frozen(teacher), networks), Supervised(deepcopy(student))
        steps = [step(method.train(), batch, bf16) for method in both]
        title = f"{name} > {PAIRS[name]} {precision}, SLKD / student"
        compare(f"{title} ({expected:.1f})", steps[0], steps[1], pairs, device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teachers", nargs="+", default=list(PAIRS), choices=PAIRS)
    parser.add_argument("--sl-teachers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(
        f"{options.sl_teachers} SL-teachers, batch {options.batch_size}, channels last, median of "
        f"{options.pairs} pairs; torch {torch.__version__}, {where}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads"
    )
    for name in options.teachers:
        measure(name, options, device)


if __name__ == "__main__":
    main()
