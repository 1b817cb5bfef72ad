"""What a step of each self-distillation method costs, over a plain step of the same network.

    OMP_NUM_THREADS=1 python benchmarks/self_distillation.py [--pairs 9] [--precision fp32 bf16] [--compile]

Printed for each: the ratio of the two steps, beside what the multiply-accumulates of forward and backward
alone would make it. A step is forward, losses,
backward and SGD on images of 3 x 32 x 32; a method of two views is given two. Bars: FRSKD below 2.5 plain
steps, the others at most 1.15 times what is predicted.

The two sides run in turn, pair by pair; the median ratio and a 95 percent interval of the median (order
statistics). Freed memory is kept, as the engine does on a CPU. Compiling happens before the time measured.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Mapping

import torch
from pairs import compare
from torch import Tensor, nn

from cohobate.core import Batch, Method
from cohobate.data.arrays import arrays
from cohobate.engine.memory import keep_freed_memory
from cohobate.engine.plan import begin
from cohobate.recipes.job import Job
from cohobate.recipes.options import options as method_options
from cohobate.recipes.options import own_options
from cohobate.recipes.recipe import find

CLASSES, SIZE = 100, 32

METHODS: Mapping[str, tuple[str, dict[str, object]]] = {
    "sad": ("sad", {"start": 0.0}),
    "byot": ("byot", {}),
    "cs_kd": ("cs_kd", {}),
    "ddgsd": ("ddgsd", {}),
    "one": ("one", {}),
    "sla_sd": ("sla_sd", {}),
    "frskd without features": ("frskd", {"features": "none"}),
    "frskd": ("frskd", {}),
    "frskd, projected first": ("frskd", {"upsampling": "projected"}),
    "frskd as in the public code": ("frskd", {"upsampling": "nearest"}),
    "frskd, fitnet": ("frskd", {"features": "fitnet"}),
    "frskd, overhaul": ("frskd", {"features": "overhaul"}),
    "frskd, bifpn": ("frskd", {"pyramid": "bifpn"}),
    "frskd + sla": ("frskd", {"sla": True}),
}


def made(name: str, own: Mapping[str, object], model: str, device: torch.device) -> Method:
    """A method as its recipe makes it."""
    noise = torch.randint(0, 256, (2 * CLASSES, SIZE, SIZE, 3), dtype=torch.uint8)
    data = arrays(noise, torch.arange(2 * CLASSES) % CLASSES)
    config = method_options(name, {"model": model, **own})
    chosen = {option: getattr(config, option) for option in own_options(name)}
    method = begin(find(name).plan(Job(config, data), chosen), seed=0).method
    return method.to(device, memory_format=torch.channels_last).train()  # type: ignore[no-any-return]


def images(count: int, device: torch.device) -> Batch:
    def view() -> Tensor:
        return torch.randn(count, 3, SIZE, SIZE, device=device).contiguous(memory_format=torch.channels_last)

    y = torch.randint(CLASSES, (count,), device=device)
    return Batch((view(), view()), y, progress=torch.tensor(0.5, device=device))


def step(method: Method, batch: Batch, bf16: bool, compiled: bool) -> Callable[[], None]:
    fused = batch.x.device.type == "cuda"
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=fused)
    if compiled:
        method.compile(fullgraph=True, dynamic=False)

    def go() -> None:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=bf16):
            losses = method(batch)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return go


def work(method: Method, batch: Batch) -> int:
    """Multiply-accumulates of a step: one forward, and two more backward where a gradient is wanted."""
    total = 0

    def seen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output.numel() * module.weight[0].numel() * (3 if torch.is_grad_enabled() else 1)

    layers = [module for module in method.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(seen) for layer in layers]
    method(batch)
    for handle in handles:
        handle.remove()
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--model", default="wrn_16_2")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        keep_freed_memory()
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(
        f"{options.model}, batch {options.batch_size}, channels last, median of {options.pairs} pairs; "
        f"torch {torch.__version__}, {where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    batch, few = images(options.batch_size, device), images(8, device)
    for precision in options.precision:
        bf16, how = precision == "bf16", "compiled" if options.compile else "eager"
        plain = made("baseline", {}, options.model, device)
        least = work(plain, few)
        plainly = step(plain, batch, bf16, options.compile)
        for title in options.what:
            name, own = METHODS[title]
            method = made(name, own, options.model, device)
            predicted = work(method, few) / least
            measured = step(method, batch, bf16, options.compile)
            compare(
                f"{title}, {precision} {how} (predicted {predicted:.2f})",
                *(measured, plainly),
                options.pairs,
                device,
            )


if __name__ == "__main__":
    main()
