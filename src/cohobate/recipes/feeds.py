"""From a data set to what the engine reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, partial

import torch
import torch.nn.functional as F

from ..core import Batch, Loader, Method
from ..data.dataset import Dataset, Split, hold_out, limit
from ..data.loaders import eval_loader, train_loader
from ..data.sources import load
from ..engine import distributed
from ..engine.loop import Feeds
from ..engine.settings import Settings
from .training import Training


def read_data(config: Training) -> Dataset:
    """The data set of a run: read, held out from, limited, in this order."""
    dataset = load(config.data, config.data_root, config.image_size)
    return divide(dataset, config)


def divide(dataset: Dataset, config: Training) -> Dataset:
    """Hold out the validation split, then keep as many training images as were asked for."""
    dataset = hold_out(dataset, config.val_fraction, config.split_seed)
    if config.train_images is not None:
        dataset = limit(dataset, config.train_images, config.split_seed)
    return dataset


def make_feeds(dataset: Dataset, device: torch.device, workers: int) -> Feeds:
    """Loaders over the splits, each process its share."""

    def train(method: Method, settings: Settings) -> Loader:
        loader = train_loader(
            dataset,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            seed=settings.seed,
            device=device,
            rank=distributed.rank(),
            world=distributed.world(),
            workers=workers,
            second_view=method.second_view,
        )
        if settings.label_smoothing == 0:
            return loader
        return Smoothed(loader, settings.label_smoothing, len(dataset.classes))

    measured = partial(split_loader, dataset=dataset, device=device, workers=workers)
    return Feeds(
        train=train,
        val=None if dataset.val is None else measured(dataset.val),
        test=None if dataset.test is None else cache(lambda: measured(dataset.test())),  # type: ignore[misc]
        plain_train=cache(lambda: measured(dataset.train)),
    )


def split_loader(split: Split, dataset: Dataset, device: torch.device, workers: int) -> Loader:
    """The images of a split in order, each process its share of the batches."""
    world = distributed.world()
    return eval_loader(
        split,
        dataset,
        batch_size=min(500, math.ceil(len(split) / world)),
        device=device,
        rank=distributed.rank(),
        world=world,
        workers=workers,
    )


class Smoothed:
    """A loader whose labels give ``share`` of their weight to all classes alike."""

    def __init__(self, loader: Loader, share: float, classes: int) -> None:
        self.loader, self.share, self.classes = loader, share, classes

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.epoch(epoch, start):
            yield smooth(batch, self.share, self.classes)


def smooth(batch: Batch, share: float, classes: int) -> Batch:
    """Integer labels (B,) become probabilities (B, K)."""
    certain = F.one_hot(batch.ids("label smoothing"), classes).float()
    return batch._replace(y=(1 - share) * certain + share / classes)
