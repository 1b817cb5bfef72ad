"""How much of the arithmetic that a cascade saves is time saved, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/cascade.py [--rounds 15] [--batch-sizes 1 256] [--clock wall]

`cohobate.Cascade` beside `cohobate.Sum` of the same two networks in evaluation mode, whose weights are drawn
and not trained: the threshold is a quantile of the energies, so that the shares of the images that leave
early are those asked for. Arithmetic saved is 1 - mean multiply-accumulates of an image / those of the sum;
time saved is 1 - time of the cascade / time of the sum over the same images. The two run in turn, batch by
batch; a batch counts with the median of its times over the rounds, on either side. Freed memory is kept, as
in every run (:mod:`cohobate.engine.memory`).

Time is the thread's own processor time, which is the wall clock's where nothing else runs: other processes
of the machine disturb the wall clock more than what is measured. ``--clock wall`` takes that one.

Bar: time saved is at least 0.8 of the arithmetic saved, in every row; if it is missed, the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cohobate.analysis.cost import cost
from cohobate.core import Sum, precise_energy
from cohobate.engine.memory import keep_freed_memory
from cohobate.inference.cascade import Cascade
from cohobate.models.build import build

CLASSES, SHAPE = 10, (3, 32, 32)
PAIRS = (("resnet20", "resnet14"), ("resnet8", "resnet8"))
BAR = 0.8
CLOCKS: Mapping[str, Callable[[], float]] = {"cpu": time.thread_time, "wall": time.perf_counter}


class Row(NamedTuple):
    """A measurement.

    Attributes:
        arithmetic: share of the multiply-accumulates that the cascade saves.
        time: share of the time that it saves.
        ms: of an image in the sum.
    """

    arithmetic: float
    time: float
    ms: float

    @property
    def kept(self) -> float:
        return self.time / self.arithmetic


def make(names: Sequence[str], layout: torch.memory_format, x: Tensor) -> list[nn.Module]:
    """Networks of which the first is sure of some images and not of others, as trained ones are."""
    networks = [build(name, CLASSES).eval() for name in names]
    fc = networks[0].fc
    assert isinstance(fc, nn.Linear)
    logits = networks[0](x).logits
    scale, middle = 2 / (logits - logits.mean(dim=0)).std(), logits.mean(dim=0)
    fc.weight.mul_(scale)
    fc.bias.sub_(middle).mul_(scale)
    return [network.to(memory_format=layout) for network in networks]  # type: ignore[call-overload]


def seconds(
    sides: Sequence[Callable[[Tensor], object]],
    parts: Sequence[Tensor],
    count: int,
    clock: Callable[[], float],
) -> list[float]:
    """Of each side for all parts: the sum of the medians of the parts, which both run in turn."""
    took: list[list[list[float]]] = [[[] for _ in parts] for _ in sides]
    for i in range(count + 1):
        for j, part in enumerate(parts):
            # Which one goes first alternates: neither always meets the other's warm caches.
            for which in (0, 1) if (i + j) % 2 else (1, 0):
                start = clock()
                sides[which](part)
                took[which][j].append(clock() - start)
    # The first round warms up.
    return [sum(median(times[1:]) for times in side) for side in took]


def measure(
    networks: Sequence[nn.Module],
    parts: Sequence[Tensor],
    share: float,
    count: int,
    clock: Callable[[], float],
) -> Row:
    whole, cascade = Sum(networks).eval(), Cascade(networks, 1.0)
    energies = precise_energy(torch.cat([whole.prefixes(part)[0] for part in parts]))
    cascade.threshold = float(energies.quantile(1 - share, interpolation="midpoint"))
    left = torch.cat([cascade.exits(part).exits for part in parts]) == 0
    macs = [cost(network, SHAPE).macs for network in networks]
    arithmetic = float(left.double().mean()) * macs[1] / sum(macs)
    one, two = seconds((cascade, whole), parts, count, clock)
    return Row(arithmetic, 1 - one / two, 1000 * two / len(left))


def report(names: Sequence[str], batch_size: int, share: float, row: Row) -> None:
    print(
        f"{'+'.join(names):18} {batch_size:5} {100 * share:5.0f}% {row.ms:9.3f} "
        f"{100 * row.arithmetic:10.1f}% {100 * row.time:10.1f}% {row.kept:6.2f}"
        f"{'' if row.kept >= BAR else '  missed'}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 256])
    parser.add_argument(
        "--share", type=float, nargs="+", default=[0.2, 0.5, 0.8], help="of images that leave"
    )
    parser.add_argument("--images", type=int, default=40, help="of a round at a batch size of 1")
    parser.add_argument("--layout", default="channels_last", choices=["channels_last", "contiguous"])
    parser.add_argument("--clock", default="cpu", choices=CLOCKS)
    options = parser.parse_args()
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    print(
        f"{options.layout}, {options.clock} clock, median of {options.rounds} rounds; "
        f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, 1 thread"
    )
    print("networks           batch  leave  ms/image  arithmetic  time saved  ratio")
    rows = []
    for names, batch_size in product(PAIRS, options.batch_sizes):
        x = torch.randn(max(batch_size, options.images), *SHAPE).contiguous(memory_format=layout)
        with torch.inference_mode():
            networks = make(names, layout, x)
            for share in options.share:
                clock = CLOCKS[options.clock]
                rows.append(measure(networks, x.split(batch_size), share, options.rounds, clock))
                report(names, batch_size, share, rows[-1])
    missed = sum(row.kept < BAR for row in rows)
    print(
        f"bar, {BAR} of the arithmetic saved: "
        + (f"missed in {missed} rows" if missed else "met in every row")
    )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
