"""What batches of 32x32 images cost: beside torchvision, and as a share of a training step.

    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/data_path.py --images 10000 --batches 30

Both paths give normalised float32 batches of 128 after a random crop (padding 4) and a random flip.
torchvision (needed here only) runs RandomCrop, RandomHorizontalFlip, ToTensor and Normalize over PIL
images in a DataLoader, and the better of 0 and 2 workers counts. All that is compared is measured
in turn within each round; medians over the rounds are printed. COHOBATE_DATA, where it names a
folder with CIFAR-10, gives the images; else they are random.

Bars: at least 10 times torchvision, at most 3 percent of a ResNet-20 step.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import chain, count, islice
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms

from cohobate.core import as_output
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset, Images, limit
from cohobate.data.loaders import train_loader
from cohobate.data.sources import load_data
from cohobate.models.build import build

BATCH = 128


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The same images, as torchvision's data sets hand them out."""

    def __init__(self, split: Images, dataset: Dataset) -> None:
        self.x, self.y = split.x.numpy(), split.y.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(dataset.mean, dataset.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.x[row])), self.y[row]


def images_to_read(images: int) -> Dataset:
    """Of CIFAR-10 where COHOBATE_DATA has it, else random."""
    if os.environ.get("COHOBATE_DATA"):
        return limit(load_data("cifar10", Path(os.environ["COHOBATE_DATA"])), images, seed=0)
    x = torch.randint(0, 256, (images, 32, 32, 3), dtype=torch.uint8)
    return arrays(x, torch.arange(images) % 10, crop=4, flip=True, name="random images")


def rate(batches: Iterable[object], number: int) -> float:
    """Images a second over so many batches, after one that starts the workers."""
    iterator = iter(batches)
    next(iterator)
    begin = time.perf_counter()
    read = sum(1 for _ in islice(iterator, number))
    return read * BATCH / (time.perf_counter() - begin)


def torchvision_loader(dataset: Dataset, workers: int) -> DataLoader[tuple[Tensor, int]]:
    if not isinstance(dataset.train, Images):
        raise ValueError(f"{dataset.name} is not held in memory; this measures small images")
    pictures = Pictures(dataset.train, dataset)
    return DataLoader(pictures, BATCH, shuffle=True, drop_last=True, num_workers=workers)


def compare(dataset: Dataset, batches: int, rounds: int) -> None:
    """Print images a second of each path."""
    ours = train_loader(dataset, batch_size=BATCH, seed=0, device=torch.device("cpu"))
    theirs = {workers: torchvision_loader(dataset, workers) for workers in (0, 2)}
    rates: dict[str, list[float]] = {}
    for number in range(rounds):
        rates.setdefault("cohobate", []).append(rate(ours.epoch(number), batches))
        for workers, loader in theirs.items():
            rates.setdefault(f"torchvision, {workers} workers", []).append(rate(loader, batches))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:26} {medians[name]:>12,.0f} images/s   ({min(values):,.0f} to {max(values):,.0f})")
    best = max(value for name, value in medians.items() if name != "cohobate")
    print(f"{'ratio to the better':26} {medians['cohobate'] / best:>12.1f} x          (bar: 10)")


def steps(dataset: Dataset, half: bool) -> Iterator[tuple[float, float]]:
    """Seconds for the batch and seconds for the step on it, step by step."""
    network = build("resnet20", 10).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    loader = train_loader(dataset, batch_size=BATCH, seed=0, device=torch.device("cpu"))
    batches = chain.from_iterable(map(loader.epoch, count()))
    while True:
        begin = time.perf_counter()
        batch = next(batches)
        ready = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = cross_entropy(as_output(network(batch.x)).logits, batch.y)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield ready - begin, time.perf_counter() - ready


def share_of_step(dataset: Dataset, rounds: int) -> None:
    """Print the share of the batch in a ResNet-20 step, measured within the loop."""
    for name, half in (("fp32", False), ("bf16 autocast", True)):
        times = list(islice(steps(dataset, half), 3, 3 + 2 * rounds))
        data, step = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{'ResNet-20 step, ' + name:30} {step * 1e3:>8.1f} ms, the batch {data * 1e3:.2f} ms: "
            f"{100 * data / (data + step):.2f} percent   (bar: 3)"
        )


def processor() -> str:
    """Its name, where the system tells."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--images", type=int, default=10000, help="images to draw from")
    cli.add_argument("--batches", type=int, default=30, help="batches of 128 in each measurement")
    cli.add_argument("--rounds", type=int, default=7)
    options = cli.parse_args()
    if options.images < (options.batches + 1) * BATCH:
        cli.error(
            f"--images must be at least {(options.batches + 1) * BATCH} for --batches {options.batches}"
        )
    dataset = images_to_read(options.images)
    print(
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}; {options.images} of {dataset.name}, "
        f"batches of {BATCH}, medians of {options.rounds} rounds"
    )
    compare(dataset, options.batches, options.rounds)
    share_of_step(dataset, options.rounds)


if __name__ == "__main__":
    main()
