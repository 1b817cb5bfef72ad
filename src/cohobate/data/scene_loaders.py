"""Batches of pictures with masks: read from disk once and kept in memory where they fit, else by workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from ..core import IGNORED, Batch, Truth
from .dataset import Dataset
from .order import EvalOrder, TrainOrder, filled
from .order import Shown as Rows
from .pictures import PictureError
from .resident import Normalise
from .scene_memory import EVALUATION, TRAINING, Decoding, Kept, allowed, keeps, stored
from .scene_views import Lengths, Shown, drawn, evaluated, mirrored, placed
from .scenes import VOID, Scenes
from .workers import Unreadable, read

AHEAD = 2
"""Batches that each thread prepares ahead of the one in use."""
MEND = (
    "mend it, or remove picture and mask, and give the same command again (a new run finds such files before "
    "its training by --skip-unreadable, and leaves out the pairs)"
)
"""What to do about a file that cannot be decoded, met while a run is trained or measured."""


@dataclass(frozen=True)
class Job:
    """One item of a batch.

    Attributes:
        row: of the split.
        seed: of its random draws; None: it is shown as it is evaluated.
    """

    row: int
    seed: tuple[int, ...] | None = None


@final
class Views(TorchDataset[Shown | Unreadable]):
    """Job -> image and mask, in whichever process or thread: what is drawn depends on the job alone.

    Args:
        source: row -> the scene as it is kept.
        scenes: of the split.
        flip: whether images may be mirrored.
        crop: whether a random part at a random scale is shown; else the scene as it is kept.
    """

    def __init__(self, source: Callable[[int], Shown], scenes: Scenes, flip: bool, crop: bool) -> None:
        self.source, self.scenes, self.flip, self.crop = source, scenes, flip, crop

    def __getitem__(self, job: Job) -> Shown | Unreadable:
        try:
            scene = self.source(job.row)
        except PictureError as error:
            return Unreadable(str(error))
        if job.seed is None:
            return scene
        rng = np.random.default_rng(job.seed)
        if self.crop:
            size, reading = self.scenes.size, self.scenes.reading
            height, width = scene.mask.shape
            placing = drawn((height, width), size, reading, self.scenes.scale, rng)
            scene = placed(scene, placing, size, reading)
        return mirrored(scene) if self.flip and rng.random() < 0.5 else scene


class Together(NamedTuple):
    """Some images and their masks.

    Attributes:
        pixels: (B, H, W, C), uint8.
        mask: (B, H, W), uint8.
        wholes: the pixels of the whole masks, one after the other, uint8: each tensor that crosses processes
            holds a file open.
        sizes: (height, width) of each whole mask.
    """

    pixels: Tensor
    mask: Tensor
    wholes: Tensor
    sizes: tuple[Lengths, ...]


def together(items: Sequence[Shown | Unreadable]) -> Together | Unreadable:
    """All of them, or the first that could not be read."""
    bad = next((item for item in items if isinstance(item, Unreadable)), None)
    if bad is not None:
        return bad
    good = [item for item in items if isinstance(item, Shown)]
    wholes = [item.whole for item in good if item.whole is not None]
    return Together(
        torch.stack([item.pixels for item in good]),
        torch.stack([item.mask for item in good]),
        torch.cat([whole.flatten() for whole in wholes]) if wholes else torch.empty(0, dtype=torch.uint8),
        tuple((whole.shape[0], whole.shape[1]) for whole in wholes),
    )


def in_threads(views: Views, jobs: Iterable[list[Job]], threads: int) -> Iterator[Together]:
    """Batches made in threads of this process, in order; without threads where they are needed.

    Raises:
        PictureError: one of the files cannot be read.
    """

    def batch(each: list[Job]) -> Together:
        made = together([views[job] for job in each])
        if isinstance(made, Unreadable):
            raise PictureError(f"{made.message}; {MEND}")
        return made

    if threads == 0:
        yield from map(batch, jobs)
        return
    pool = ThreadPoolExecutor(threads, "cohobate-scenes")
    waiting: deque[Future[Together]] = deque()
    try:
        for each in jobs:
            waiting.append(pool.submit(batch, each))
            if len(waiting) > threads * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@final
class Supply:
    """Images and masks of one split, on a device: kept in memory after the first time where they fit.

    Args:
        make: row -> a scene as it is kept.
        fits: whether all of them fit into memory.
        scenes: of the split.
        flip, crop: see :class:`Views`.
        device: of the batches.
        workers: threads that place images in memory, or processes that decode files each time.
    """

    def __init__(
        self,
        make: Callable[[int], Shown],
        fits: bool,
        scenes: Scenes,
        device: torch.device,
        workers: int,
        *,
        flip: bool = False,
        crop: bool = False,
    ) -> None:
        self._fits, self._device, self._workers = fits, device, workers
        self._views = Views(Kept(make) if fits else make, scenes, flip, crop)

    def __call__(self, jobs: Iterable[list[Job]]) -> Iterator[Together]:
        """Images and masks of each list of jobs: pixels and masks on the device."""
        if self._fits:
            batches = in_threads(self._views, jobs, self._workers)
        else:
            batches = read(self._views, jobs, self._workers, self._device, together)
        for batch in batches:
            pixels, mask = (each.to(self._device, non_blocking=True) for each in batch[:2])
            yield batch._replace(pixels=pixels, mask=mask)


def labels(mask: Tensor) -> Tensor:
    """Masks as labels: int64, and -100 where they are void."""
    return torch.where(mask == VOID, IGNORED, mask.long())


@final
class ScenesTrain:
    """Training batches of pictures with masks.

    A picture is shown at a random scale, cut or padded at random, and mirrored at random. What is drawn for
    an item depends on (seed, epoch, row) alone, or on (seed, version, row) where versions repeat.

    Attributes:
        order: of the images in each epoch, and which version of them it shows.
    """

    def __init__(
        self,
        split: Scenes,
        dataset: Dataset,
        order: TrainOrder,
        device: torch.device,
        workers: int,
        limit: int | None = None,
    ) -> None:
        self._split, self.order, self._device = split, order, device
        crop = dataset.resized_crop and order.augmentations != 0
        decoding = Decoding(split)
        make = decoding.for_training if crop else decoding.fitted
        channels = split.shape[0]

        def bytes_of(size: Lengths) -> int:
            height, width = stored(size, split) if crop else split.size
            return height * width * (channels + 1)

        fits = keeps(split, bytes_of, allowed(*TRAINING, order.world) if limit is None else limit)
        self._supply = Supply(make, fits, split, device, workers, flip=dataset.flip, crop=crop)
        self._normalise = Normalise(dataset, split.size[1], device)

    def __len__(self) -> int:
        return len(self.order)

    def in_order(self, version: int, size: int, rank: int = 0, world: int = 1) -> Iterator[Rows]:
        """Every image once and in order in this version; see :data:`cohobate.data.order.Shown`."""
        spans = list(EvalOrder(len(self._split), size, rank, world).spans(0))
        jobs = (self._jobs(version, filled(rows, size)) for rows in spans)
        for rows, batch in zip(spans, self._supply(jobs), strict=True):
            yield rows, self._normalise(batch.pixels)

    def _jobs(self, version: int, rows: Tensor) -> list[Job]:
        if self.order.augmentations == 0:
            return [Job(row) for row in rows.tolist()]
        return [Job(row, (self.order.seed, version, row)) for row in rows.tolist()]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        rows = torch.randperm(len(self._split), generator=self.order.generator(epoch))
        index, version = rows.to(self._device), self.order.version(epoch)
        spans = list(self.order.spans(start))
        batches = self._supply(self._jobs(version, rows[span]) for span in spans)
        for span, batch in zip(spans, batches, strict=True):
            yield Batch((self._normalise(batch.pixels),), labels(batch.mask), index[span])


@final
class ScenesEval:
    """Whole pictures and their masks, at the network's size and whole, in the order of the split."""

    def __init__(
        self,
        split: Scenes,
        dataset: Dataset,
        order: EvalOrder,
        device: torch.device,
        workers: int,
        limit: int | None = None,
    ) -> None:
        self._split, self._order, self._device = split, order, device
        height, width = split.size
        own = height * width * (split.shape[0] + 1)
        limit = allowed(*EVALUATION, order.world) if limit is None else limit
        fits = keeps(split, lambda size: own + size[0] * size[1], limit)
        self._supply = Supply(Decoding(split).for_evaluation, fits, split, device, workers)
        self._normalise = Normalise(dataset, split.size[1], device)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        index = torch.arange(len(self._split), device=self._device)
        spans = list(self._order.spans(start))
        batches = self._supply([Job(row) for row in range(span.start, span.stop)] for span in spans)
        for span, batch in zip(spans, batches, strict=True):
            x, y = self._normalise(batch.pixels), labels(batch.mask)
            yield Batch((x,), y, index[span], truths=tuple(self._truths(batch)))

    def _truths(self, batch: Together) -> Iterator[Truth]:
        """The whole masks, each a tensor of its own."""
        each = batch.wholes.split([height * width for height, width in batch.sizes])
        for size, pixels in zip(batch.sizes, each, strict=True):
            box = evaluated(size, self._split.size, self._split.reading).box
            yield Truth(pixels.view(size), box)
