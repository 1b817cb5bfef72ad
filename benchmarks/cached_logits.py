"""What it saves to keep the teacher's logits: an epoch of KD with the store and without it.

    OMP_NUM_THREADS=1 python benchmarks/cached_logits.py [--pairs 5] [--images 128] [--compile]

Both sides are the engine's own epochs (validation and checkpoint apart) on the same synthetic images,
32 x 32, 100 classes, one augmented version of each; in turn, pair by pair, so that a change of the
machine's speed meets both. Printed, over the epoch without the store: an epoch with the store filled,
and an epoch that fills it (the first of each version), median and 95 percent interval of the median
(order statistics).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pairs import median_interval, seconds

from cohobate.commands.feeds import make_feeds
from cohobate.config.groups import Settings
from cohobate.core import Frozen, Phase
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.engine.checkpoint import Store
from cohobate.engine.loop import Trainer
from cohobate.engine.progress import Display
from cohobate.engine.signals import Stopper
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD
from cohobate.models.build import build

PAIRS = (("resnet56", "resnet8"), ("wrn_40_2", "wrn_16_2"))
CLASSES = 100


def synthetic(images: int) -> Dataset:
    x = torch.randint(0, 256, (images, 32, 32, 3), dtype=torch.uint8)
    return arrays(
        x, torch.arange(images) % CLASSES, classes=[str(k) for k in range(CLASSES)], crop=4, flip=True
    )


def trainer(
    names: tuple[str, str],
    cache: Literal["on", "off"],
    options: argparse.Namespace,
    device: torch.device,
    folder: Path,
) -> Trainer:
    torch.manual_seed(0)
    teacher, student = (build(name, CLASSES) for name in names)
    settings = Settings(
        epochs=10**6,
        batch_size=options.batch_size,
        lr=0.01,
        schedule="constant",
        compile="on" if options.compile else "off",
        device=device.type,
    )
    return Trainer(
        Phase("train", Distillation(student, Frozen(teacher), {"kd": KD()})),
        make_feeds(synthetic(options.images), device, 0, augmentations=1, cache_teacher=cache),
        settings,
        device,
        Store(folder / cache),
        folder / "metrics.jsonl",
        [],
        Display(quiet=True),
        Stopper(),
    )


def epochs(running: Trainer, fresh: bool = False) -> Callable[[], None]:
    """One epoch; ``fresh``: with a store that is still empty."""

    def go() -> None:
        if fresh:
            running.loader = running.feeds.train(running.method, running.settings)
        running._train_epoch()
        running.standing.step, running.standing.totals = 0, {}

    return go


def measure(names: tuple[str, str], options: argparse.Namespace, device: torch.device) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with_store = trainer(names, "on", options, device, Path(folder))
        without = trainer(names, "off", options, device, Path(folder))
        sides = {"without": epochs(without), "filling": epochs(with_store, fresh=True)}
        sides["filled"] = epochs(with_store)
        for go in sides.values():
            go()
        times: dict[str, list[float]] = {name: [] for name in sides}
        for i in range(options.pairs):
            # Which one goes first alternates: neither always meets the other's warm caches.
            for name in sorted(sides, reverse=i % 2 == 1):
                times[name].append(seconds(sides[name], device))
    for name in ("filled", "filling"):
        ratios = [a / b for a, b in zip(times[name], times["without"], strict=True)]
        middle, low, high = median_interval(ratios)
        a, b = (statistics.median(times[side]) for side in (name, "without"))
        print(
            f"{' -> '.join(names):22} {name:8} {a:7.3f} s   without {b:7.3f} s   "
            f"ratio {middle:.3f} [{low:.3f}, {high:.3f}]",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--compile", action="store_true", help="compile the step")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(
        f"{options.images} images, batch {options.batch_size}, fp32 channels last, "
        f"{'compiled' if options.compile else 'eager'}, median of {options.pairs} rounds; torch "
        f"{torch.__version__}, {where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    for names in PAIRS:
        measure(names, options, device)


if __name__ == "__main__":
    main()
