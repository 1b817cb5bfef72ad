"""What batches of images with masks cost: beside a plain PyTorch loop with torchvision's transforms (v2).

    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/segmentation.py --root FOLDER --image-size 90,120

FOLDER has CamVid. All paths give normalised float32 batches and masks after the same augmentation: a random
scale (0.5 to 2), a random crop with padding, a random flip. torchvision (needed here only) runs ScaleJitter,
RandomCrop, RandomHorizontalFlip and Normalize over its tensors in a DataLoader, whose workers stay alive.
Each side is measured with the same pictures in memory, and with files decoded for every batch, at 0 and 2
workers, alone and with a training step of one network. In memory pictures have the largest size that training
shows: cohobate makes them smaller when it keeps them, and torchvision is given the ones so made. What is
compared is measured in turn within each round. Printed are medians over the rounds, and the median and the
range of the rounds' ratios; those of processor time, which other programs on the machine disturb less, are of
0 workers.

Bar: not slower.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from cohobate.data.dataset import Dataset
from cohobate.data.masks import Masks
from cohobate.data.order import TrainOrder
from cohobate.data.scene_loaders import ScenesTrain
from cohobate.data.scene_memory import Decoding
from cohobate.data.scenes import SCALES, VOID, Scenes
from cohobate.data.sources import load_data

WORKERS = (0, 2)
PREPARED = 5
"""Batches that two workers may have prepared ahead: twice two, and one in hand."""
Pair = tuple[Tensor, Tensor]
Batches = Iterator[Pair]


class Pictures(torch.utils.data.Dataset[Pair]):
    """The same files, as torchvision's transforms take them.

    Args:
        scenes: the files.
        dataset: whose mean and standard deviation normalise.
        in_memory: whether they are decoded once, before; else every time.
    """

    def __init__(self, scenes: Scenes, dataset: Dataset, in_memory: bool) -> None:
        self.scenes, self.masks = scenes, Masks(scenes.coding)
        white = {tv_tensors.Image: (255, 255, 255), tv_tensors.Mask: VOID}
        self.transform = v2.Compose(
            [
                v2.ScaleJitter(scenes.size, SCALES, antialias=True),
                v2.RandomCrop(scenes.size, pad_if_needed=True, fill=white),
                v2.RandomHorizontalFlip(),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
                v2.Normalize(dataset.mean, dataset.std),
            ]
        )
        self.held = [self.kept(row) for row in range(len(scenes))] if in_memory else None

    def __len__(self) -> int:
        return len(self.scenes)

    def decoded(self, row: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        picture = np.array(Image.open(self.scenes.paths[row]).convert("RGB"))
        mask = torch.from_numpy(self.masks(self.scenes.masks[row]))
        return tv_tensors.Image(torch.from_numpy(picture).permute(2, 0, 1)), tv_tensors.Mask(mask)

    def kept(self, row: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        """As cohobate keeps it."""
        shown = Decoding(self.scenes).for_training(row)
        return tv_tensors.Image(shown.pixels.permute(2, 0, 1).contiguous()), tv_tensors.Mask(shown.mask)

    def __getitem__(self, row: int) -> Pair:
        image, mask = self.transform(*(self.decoded(row) if self.held is None else self.held[row]))
        return image, mask


def of_torchvision(dataset: Dataset, batch: int, workers: int, in_memory: bool) -> Batches:
    pictures = Pictures(scenes_of(dataset), dataset, in_memory)
    loader = DataLoader(
        pictures, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        yield from loader


def of_cohobate(dataset: Dataset, batch: int, workers: int, in_memory: bool) -> Batches:
    scenes = scenes_of(dataset)
    order = TrainOrder(len(scenes), batch, 1, 0, 0, 1)
    limit = None if in_memory else 0
    loader = ScenesTrain(scenes, dataset, order, torch.device("cpu"), workers, limit)
    for each in chain.from_iterable(map(loader.epoch, count())):
        yield each.x, each.y


def scenes_of(dataset: Dataset) -> Scenes:
    if not isinstance(dataset.train, Scenes):
        raise ValueError(f"{dataset.name} has no masks")
    return dataset.train


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Half the height and width."""
    convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def make_step(classes: int, size: tuple[int, int]) -> Callable[[Pair], None]:
    """A training step of a small network, the same for both: little beside which the data path could hide."""
    layers = (block(3, 32), block(32, 64), block(64, 128), nn.Conv2d(128, classes, 1), nn.Upsample(size))
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def step(pair: Pair) -> None:
        x, y = pair
        ignored = torch.where(y == VOID, -100, y)
        logits = network(x.contiguous(memory_format=torch.channels_last))
        torch.autograd.backward(cross_entropy(logits, ignored))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def nothing(pair: Pair) -> None:
    """No step: the data path alone."""


class Speed(NamedTuple):
    """Images a second: of time that passed, and of processor time of this process."""

    passed: float
    used: float


def speed(batches: Batches, number: int, size: int, step: Callable[[Pair], None]) -> Speed:
    """Over so many batches, after those that were prepared while other paths were measured."""
    for pair in islice(batches, PREPARED):
        step(pair)
    begin, used = time.perf_counter(), time.process_time()
    for pair in islice(batches, number):
        step(pair)
    images = number * size
    return Speed(images / (time.perf_counter() - begin), images / (time.process_time() - used))


def compare(
    dataset: Dataset, batch: int, batches: int, rounds: int, in_memory: bool, step: Callable[[Pair], None]
) -> None:
    """Print images a second of each path, and the ratios of the rounds."""
    paths = {
        (side, workers): make(dataset, batch, workers, in_memory)
        for workers in WORKERS
        for side, make in (("cohobate", of_cohobate), ("torchvision", of_torchvision))
    }
    for each in paths.values():
        # An epoch, so that workers run and what is kept in memory is there.
        speed(each, len(dataset.train) // batch if in_memory else 2, batch, nothing)
    speeds: dict[tuple[str, int], list[Speed]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, each in paths.items():
            speeds[name].append(speed(each, batches, batch, step))
    for (side, workers), values in speeds.items():
        passed = statistics.median(value.passed for value in values)
        print(f"  {side}, {workers} workers: {passed:,.0f} images/s")
    ours, theirs = (
        [max(each) for each in zip(*([v.passed for v in speeds[side, w]] for w in WORKERS), strict=True)]
        for side in ("cohobate", "torchvision")
    )
    print(f"  ratio, each at its better number of workers: {ratio(ours, theirs)}")
    used = [[value.used for value in speeds[side, 0]] for side in ("cohobate", "torchvision")]
    print(f"  ratio by processor time, 0 workers: {ratio(*used)}")


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Median and range of the rounds' ratios."""
    each = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--root", type=Path, required=True, help="folder with CamVid")
    cli.add_argument("--image-size", default="90,120", help="height,width")
    cli.add_argument("--batch", type=int, default=16, help="images of a batch")
    cli.add_argument("--batches", type=int, default=20, help="batches in each measurement")
    cli.add_argument("--steps", type=int, default=10, help="batches with a step in each measurement")
    cli.add_argument("--rounds", type=int, default=7)
    options = cli.parse_args()
    height, width = (int(side) for side in options.image_size.split(","))
    dataset = load_data("camvid", options.root, (height, width))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}; {len(dataset.train)} images of {dataset.name} at "
        f"{height} x {width}, batches of {options.batch}, {options.rounds} rounds"
    )
    stepping = make_step(len(dataset.classes), (height, width))
    for in_memory in (True, False):
        held = "pictures in memory" if in_memory else "files decoded for every batch"
        for name, step, batches in (
            ("data path", nothing, options.batches),
            ("data path and step", stepping, options.steps),
        ):
            print(f"{name}, {held}")
            compare(dataset, options.batch, batches, options.rounds, in_memory, step)


if __name__ == "__main__":
    main()
