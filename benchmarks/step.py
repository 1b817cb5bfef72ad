"""What the engine's step costs over a bare hand-written loop on the same network and tensors.

    OMP_NUM_THREADS=1 python benchmarks/step.py [--model resnet20] [--pairs 20] [--steps 3]

Both sides train the same network on the same resident batches, in turn, pair by pair, so that a
change of the machine's speed meets both. Printed: the median ratio and a 95 percent interval of the
median (order statistics), eager and compiled. Bar: the upper limit at most 1.05.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from pairs import median_interval, seconds
from torch import Tensor, nn

from cohobate.config.groups import Settings
from cohobate.core import Batch, Method, Phase
from cohobate.engine.checkpoint import Store
from cohobate.engine.feeds import Feeds
from cohobate.engine.loop import Trainer
from cohobate.engine.measures.classification import CLASSIFICATION
from cohobate.engine.progress import Display
from cohobate.engine.signals import Stopper
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build


class Same:
    """A loader that gives the same batches again and again: the data path is measured elsewhere."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.batches[start:])


def bare(network: nn.Module, batches: list[Batch], compiled: bool) -> Callable[[], None]:
    """The loop that one would write by hand."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(network(x).logits, y)

    step = torch.compile(loss, fullgraph=True, dynamic=False) if compiled else loss

    def train() -> None:
        network.train()
        for batch in batches:
            step(batch.x, batch.y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return train


def ours(method: Method, batches: list[Batch], compiled: bool, folder: Path) -> Callable[[], None]:
    """The engine, an epoch of these batches at a time."""
    settings = Settings(
        epochs=10**6,
        batch_size=len(batches[0].y),
        lr=0.01,
        schedule="constant",
        compile="on" if compiled else "off",
    )
    trainer = Trainer(
        Phase("train", method),
        Feeds(train=lambda method, settings: Same(batches), measures=CLASSIFICATION),
        settings,
        batches[0].x.device,
        Store(folder),
        folder / "metrics.jsonl",
        [],
        Display(quiet=True),
        Stopper(),
    )

    def train() -> None:
        trainer._train_epoch()
        trainer.standing.step, trainer.standing.totals = 0, {}

    return train


def measure(options: argparse.Namespace, compiled: bool, device: torch.device) -> None:
    network = build(options.model, 10).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batches = [
        Batch(
            (
                torch.randn(options.batch_size, 3, 32, 32, device=device).contiguous(
                    memory_format=torch.channels_last
                ),
            ),
            torch.randint(10, (options.batch_size,), device=device),
        )
        for _ in range(options.steps)
    ]
    with tempfile.TemporaryDirectory() as folder:
        plain = bare(deepcopy(network), batches, compiled)
        engine = ours(Supervised(deepcopy(network)), batches, compiled, Path(folder))
        for train in (plain, engine, plain, engine):
            train()
        pairs = []
        for i in range(options.pairs):
            # Which one goes first alternates: neither always meets the other's warm caches.
            first, second = (plain, engine) if i % 2 == 0 else (engine, plain)
            times = {first: seconds(first, device), second: seconds(second, device)}
            pairs.append((times[engine], times[plain]))
    middle, low, high = median_interval([a / b for a, b in pairs])
    a, b = (1000 * statistics.median(side) / options.steps for side in zip(*pairs, strict=True))
    print(
        f"{'compiled' if compiled else 'eager':9} engine {a:8.2f} ms   bare {b:8.2f} ms   "
        f"ratio {middle:.3f} [{low:.3f}, {high:.3f}]"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=3, help="steps in one measurement")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(
        f"{options.model}, batch {options.batch_size}, fp32 channels last, median of {options.pairs} "
        f"pairs of {options.steps} steps; torch {torch.__version__}, {where}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads"
    )
    for compiled in (False, True):
        measure(options, compiled, device)


if __name__ == "__main__":
    main()
