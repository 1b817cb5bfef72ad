"""The order of the images in an epoch, and the part of each batch that a rank reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..config.words import count

SecondView = Literal[None, "augmentation", "classmate"]
SECOND_VIEWS = (None, "augmentation", "classmate")


def _check_share(batch_size: int, rank: int, world: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= rank < world:
        raise ValueError(f"rank must be 0 to world - 1, got rank {rank} of world {world}")


def own_seed(seed: int) -> int:
    """The seed for the unlabelled images of a run, derived from the run's seed, and different from it."""
    return int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0]) >> 1


MIXING, LOOKS = 2, 3
"""Spawn keys of the draws that are not order, crops or flips: mixing; AutoAugment and Cutout."""


def own_draws(purpose: int, *key: int) -> np.random.Generator:
    """A random generator for one purpose and key, independent of those for others.

    Args:
        purpose: :data:`MIXING` or :data:`LOOKS`.
        key: seed, epoch and further numbers that identify the draw.
    """
    return np.random.default_rng(np.random.SeedSequence(key, spawn_key=(purpose,)))


def _too_large(batch_size: int, images: int, parts: int) -> str:
    most = images // parts * parts
    said = f"batch_size {batch_size} exceeds the {count(images, 'training image')}"
    if most:
        return f"{said}; give {most} or less (--batch-size {most})"
    return f"{said}, and a batch is shared by {parts} (accumulate x world); give more images, or fewer parts"


def _check_start(start: int, batches: int) -> None:
    if not 0 <= start <= batches:
        raise ValueError(f"start must be 0 to {batches}, the micro-batches of an epoch, got {start}")


@dataclass(frozen=True)
class TrainOrder:
    """Shuffled epochs of whole batches; the last, incomplete batch is dropped.

    Args:
        images: N, rows of the training split.
        batch_size: images of one update, over all micro-batches and all ranks.
        accumulate: micro-batches of one update.
        seed: of the run; every draw depends on it and on the number of the epoch.
        rank: number of this process.
        world: number of processes; each reads a contiguous slice of every micro-batch.
        augmentations: number of augmented versions of each image, through which the epochs cycle;
            0: no augmentation; None: a new version in every epoch.
        balanced: whether an epoch draws each class equally often (:func:`balanced_rows`).

    Raises:
        ValueError: a batch larger than the split or not divisible by ``accumulate * world``, or a
            number out of range.
    """

    images: int
    batch_size: int
    accumulate: int
    seed: int
    rank: int
    world: int
    augmentations: int | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        _check_share(self.batch_size, self.rank, self.world)
        if self.augmentations is not None and self.augmentations < 0:
            raise ValueError(f"augmentations must be 0 or more, or None, got {self.augmentations}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {self.accumulate}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if self.batch_size > self.images:
            raise ValueError(_too_large(self.batch_size, self.images, self.accumulate * self.world))
        if self.batch_size % (self.accumulate * self.world):
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared evenly by accumulate {self.accumulate} "
                f"x world {self.world}; give a multiple of {self.accumulate * self.world}"
            )

    def __len__(self) -> int:
        return self.images // self.batch_size * self.accumulate

    def spans(self, start: int) -> Iterator[slice]:
        """Positions in the shuffled epoch, one slice for each micro-batch, from micro-batch ``start`` on."""
        _check_start(start, len(self))
        micro = self.batch_size // self.accumulate
        share = micro // self.world
        for number in range(start, len(self)):
            first = number * micro + self.rank * share
            yield slice(first, first + share)

    @property
    def versions(self) -> int | None:
        """Different versions of each image; None: as many as epochs."""
        return None if self.augmentations is None else max(1, self.augmentations)

    def version(self, epoch: int) -> int:
        """The version of the images in an epoch: the number of the first epoch with this version."""
        return epoch if self.versions is None else epoch % self.versions

    def generator(self, epoch: int) -> torch.Generator:
        """The generator for the order, crops and flips of an epoch; always on the CPU."""
        key = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(key) >> 1)

    def drawn(self, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """An epoch: the number of each item, which seeds its draws, and the row of its image, (N,) each.

        In a balanced epoch an image may come twice, so items are numbered by their place; else by the row.

        Args:
            y: (N,) class ids of all rows, on the CPU.
            generator: of the epoch.
        """
        if self.balanced:
            return torch.arange(self.images), balanced_rows(y, generator)
        rows = torch.randperm(self.images, generator=generator)
        return rows, rows


@dataclass(frozen=True)
class EvalOrder:
    """Every row once and in order; rank ``i % world`` reads batch i, and the last batch may be short.

    Raises:
        ValueError: a batch size below 1, or a rank out of range.
    """

    images: int
    batch_size: int
    rank: int
    world: int

    def __post_init__(self) -> None:
        _check_share(self.batch_size, self.rank, self.world)

    def _firsts(self) -> range:
        return range(self.rank * self.batch_size, self.images, self.world * self.batch_size)

    def __len__(self) -> int:
        return len(self._firsts())

    def spans(self, start: int) -> Iterator[slice]:
        """The rows of each batch of this rank, from its batch ``start`` on."""
        _check_start(start, len(self))
        for first in self._firsts()[start:]:
            yield slice(first, min(first + self.batch_size, self.images))


Shown = tuple[slice, Tensor]
"""The rows of a batch, and its images (B, C, H, W), padded to the batch size by repeating the last image."""


def filled(rows: slice, size: int) -> Tensor:
    """The rows of a slice, padded to ``size`` by repeating the last one, (size,)."""
    return torch.arange(rows.start, rows.start + size).clamp(max=rows.stop - 1)


def balanced_rows(y: Tensor, generator: torch.Generator) -> Tensor:
    """As many rows as there are, shuffled, of each class equally many (one more of some, drawn at random).

    The images of a class come equally often, once more some that are drawn at random. A class without images
    takes no part.

    Args:
        y: (N,) class ids of all rows, on the CPU.
        generator: for the draws.
    """
    by_class = y.argsort(stable=True)
    classes, sizes = y.unique(return_counts=True)
    each, more = divmod(len(y), len(classes))
    wanted = torch.full_like(sizes, each)
    wanted[torch.randperm(len(classes), generator=generator)[:more]] += 1
    rows = []
    for own, number in zip(by_class.split(sizes.tolist()), wanted.tolist(), strict=True):
        times, rest = divmod(number, len(own))
        rows += [own.repeat(times), own[torch.randperm(len(own), generator=generator)[:rest]]]
    return torch.cat(rows)[torch.randperm(len(y), generator=generator)]


def classmates(y: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """For each row another row of its class, drawn uniformly; the row itself if its class has no other.

    Args:
        y: (N,) class ids of all rows, on the CPU.
        rows: (M,) rows for which to draw.
        generator: for the draws.
    """
    by_class = y.argsort(stable=True)
    sizes = torch.bincount(y)
    first = sizes.cumsum(0) - sizes
    place = torch.empty_like(by_class)
    place[by_class] = torch.arange(len(y)) - first[y[by_class]]
    size = sizes[y[rows]]
    # A cyclic shift by 1 to size - 1 within the class always leads to another row.
    step = 1 + (torch.rand(len(rows), generator=generator, dtype=torch.float64) * (size - 1)).long()
    return by_class[first[y[rows]] + (place[rows] + step) % size]


def view_rows(
    second_view: SecondView, y: Tensor, rows: Tensor, generator: torch.Generator
) -> Iterator[Tensor]:
    """The rows of the images in each view, one or two tensors (M,).

    A generator function: the second view is drawn after the caller has drawn the crops of the first,
    which are therefore the same with and without a second view.
    """
    yield rows
    if second_view is not None:
        yield rows if second_view == "augmentation" else classmates(y, rows, generator)
