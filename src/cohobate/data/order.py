"""The order of the rows in an epoch, and the share of them that each rank gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

SecondView = Literal[None, "augmentation", "classmate"]
SECOND_VIEWS = (None, "augmentation", "classmate")


def _check_share(batch_size: int, rank: int, world: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= rank < world:
        raise ValueError(f"rank must be 0 to world - 1, got rank {rank} of world {world}")


def own_seed(seed: int) -> int:
    """The seed of the unlabelled images of a run: derived from the run's seed, with draws of its own."""
    return int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1, np.uint64)[0]) >> 1


MIXING, LOOKS = 2, 3
"""Spawn keys of the draws that are not order, crops or flips: mixing; AutoAugment and Cutout."""


def own_draws(purpose: int, *key: int) -> np.random.Generator:
    """A generator of random numbers for one purpose, of its own for each key.

    Args:
        purpose: :data:`MIXING` or :data:`LOOKS`.
        key: seed, epoch and whatever else tells one draw from another.
    """
    return np.random.default_rng(np.random.SeedSequence(key, spawn_key=(purpose,)))


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
        seed: with the number of the epoch, the key of every draw.
        rank: this process.
        world: processes; each takes a contiguous slice of every micro-batch.
        augmentations: augmented versions of each image, which the epochs repeat; 0: none is
            augmented; None: every epoch has a version of its own.

    Raises:
        ValueError: more images in a batch than there are, a batch that cannot be shared out, or a
            negative number.
    """

    images: int
    batch_size: int
    accumulate: int
    seed: int
    rank: int
    world: int
    augmentations: int | None = None

    def __post_init__(self) -> None:
        _check_share(self.batch_size, self.rank, self.world)
        if self.augmentations is not None and self.augmentations < 0:
            raise ValueError(f"augmentations must be 0 or more, or None, got {self.augmentations}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be at least 1, got {self.accumulate}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if self.batch_size > self.images:
            raise ValueError(f"batch_size {self.batch_size} exceeds the {self.images} training images")
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
        """Which version of the images an epoch shows: the number of the first epoch that shows it."""
        return epoch if self.versions is None else epoch % self.versions

    def generator(self, epoch: int) -> torch.Generator:
        """The generator of the order, crops and flips of an epoch, on the CPU whatever the images' device."""
        key = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(key) >> 1)


@dataclass(frozen=True)
class EvalOrder:
    """Every row once and in order; batch i belongs to rank ``i % world``, the last may be short.

    Raises:
        ValueError: a batch size below 1, or no such rank.
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
        """Rows, one slice a batch, from this rank's batch ``start`` on."""
        _check_start(start, len(self))
        for first in self._firsts()[start:]:
            yield slice(first, min(first + self.batch_size, self.images))


Shown = tuple[slice, Tensor]
"""Rows, and their images (B, 3, H, W): B is the same for every batch; a short one repeats its last image."""


def filled(rows: slice, size: int) -> Tensor:
    """The rows of a slice, the last one repeated until there are ``size``, (size,)."""
    return torch.arange(rows.start, rows.start + size).clamp(max=rows.stop - 1)


def classmates(y: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """For each row another row of its class, drawn uniformly; the row itself if its class has no other.

    Args:
        y: (N,) ids, on the CPU.
        rows: (M,) rows.
        generator: of the draw.
    """
    by_class = y.argsort(stable=True)
    sizes = torch.bincount(y)
    first = sizes.cumsum(0) - sizes
    place = torch.empty_like(by_class)
    place[by_class] = torch.arange(len(y)) - first[y[by_class]]
    size = sizes[y[rows]]
    # A step of 1 to size - 1 around the ring of the class never comes back to where it began.
    step = 1 + (torch.rand(len(rows), generator=generator, dtype=torch.float64) * (size - 1)).long()
    return by_class[first[y[rows]] + (place[rows] + step) % size]


def view_rows(
    second_view: SecondView, y: Tensor, rows: Tensor, generator: torch.Generator
) -> Iterator[Tensor]:
    """The rows of the images in each view, one or two tensors (M,).

    The second is drawn when it is asked for, so what is drawn for the first view in between does
    not depend on whether there is a second.
    """
    yield rows
    if second_view is not None:
        yield rows if second_view == "augmentation" else classmates(y, rows, generator)
