"""Large images: decoded, cropped and resized by worker processes, normalised on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..core import Batch
from .augment.autoaugment import Distortion
from .dataset import Dataset, Files
from .order import EvalOrder, SecondView, Shown, TrainOrder, filled, view_rows
from .pictures import REMEDY, PictureError, decode
from .resident import Normalise
from .views import augmented, whole

Item = TypeVar("Item")
Collated = TypeVar("Collated")


@dataclass(frozen=True)
class Job:
    """One item of a batch, for a worker to read.

    Attributes:
        drawn: for each view, the row of the training split that seeds its random draws.
        shown: for each view, the row of its image.
    """

    drawn: tuple[int, ...]
    shown: tuple[int, ...]


@dataclass(frozen=True)
class Unreadable:
    """What is wrong with a file, in place of its item: an exception would come with a worker's traceback."""

    message: str


@final
class Reader(TorchDataset[Tensor | Unreadable]):
    """Reads one item of a batch in a worker process: :class:`Job` -> its views, uint8 (V, H, W, C).

    The random draws of a view are seeded by (seed, epoch, row, view), so they depend neither on the number
    of workers nor on the order of the jobs.

    Args:
        files: paths and size of the images.
        flip: whether images may be mirrored.
        key: (seed, epoch), or (seed, version) where versions repeat; None: no augmentation.
        distortion: its AutoAugment is applied here, its Cutout after normalisation.
        crop: whether a random part is shown, resized; else the centre.
    """

    def __init__(
        self,
        files: Files,
        flip: bool = False,
        key: tuple[int, int] | None = None,
        distortion: Distortion | None = None,
        crop: bool = True,
    ) -> None:
        self.files, self.size, self.flip, self.key, self.crop = files, files.size, flip, key, crop
        self.distortion = distortion or Distortion()

    def __getitem__(self, job: Job) -> Tensor | Unreadable:
        paths, reading = self.files.paths, self.files.reading
        try:
            pictures = {row: decode(paths[row], reading) for row in set(job.shown)}
        except PictureError as error:
            return Unreadable(str(error))
        each = zip(job.drawn, job.shown, strict=True)
        return torch.cat([self._view(pictures[row], drawn, view) for view, (drawn, row) in enumerate(each)])

    def _view(self, picture: Image.Image, row: int, view: int) -> Tensor:
        """One view of an image, (1, H, W, C)."""
        if self.key is None:
            return _pixels(whole(picture, self.size, self.files.reading))
        rng = np.random.default_rng((*self.key, row, view))
        pixels = _pixels(augmented(picture, self.size, self.flip, rng, self.files.reading, self.crop))
        if self.distortion.policy == "none":
            return pixels
        return self.distortion.changed(pixels, self.distortion.each(*self.key, view, [row]))


def _pixels(picture: Image.Image) -> Tensor:
    """(1, H, W, C): a grey picture has no axis of channels of its own."""
    width, height = picture.size
    return torch.from_numpy(np.array(picture)).view(1, height, width, -1)


def stack(items: Sequence[Tensor | Unreadable]) -> Tensor | Unreadable:
    """B items (V, H, W, C) -> the batch (B, V, H, W, C), or the first that could not be read."""
    bad = next((item for item in items if isinstance(item, Unreadable)), None)
    return bad or torch.stack([item for item in items if isinstance(item, Tensor)])


@dataclass(frozen=True)
class Jobs:
    """The jobs of each batch, made when the batch is requested.

    Attributes:
        drawn: for each view, the rows that seed the random draws, (M,).
        shown: for each view, the rows of the images, (M,).
        places: for each batch, its positions in ``drawn`` and ``shown``.
    """

    drawn: Sequence[Tensor]
    shown: Sequence[Tensor]
    places: Sequence[slice] | Sequence[Tensor]

    def __iter__(self) -> Iterator[list[Job]]:
        for place in self.places:
            drawn, shown = (
                zip(*(rows[place].tolist() for rows in views), strict=True)
                for views in (self.drawn, self.shown)
            )
            yield [Job(*rows) for rows in zip(drawn, shown, strict=True)]


def _read(reader: Reader, jobs: Iterable[list[Job]], workers: int, device: torch.device) -> Iterator[Tensor]:
    for pixels in read(reader, jobs, workers, device, stack):
        yield pixels.to(device, non_blocking=True)


def read(
    reader: TorchDataset[Item | Unreadable],
    jobs: Iterable[list[Any]],
    workers: int,
    device: torch.device,
    collate: Callable[[Sequence[Item | Unreadable]], Collated | Unreadable],
) -> Iterator[Collated]:
    """Batches read by worker processes, on the CPU: of each list of jobs, the items of a reader, collated.

    Raises:
        PictureError: one of the files cannot be read.
    """
    loader = DataLoader(
        reader,
        batch_sampler=jobs,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        # By default the loader draws its seed from the global generator, which would change dropout.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        for pixels in loader:
            if isinstance(pixels, Unreadable):
                raise PictureError(f"{pixels.message}; {REMEDY}")
            yield pixels
    except Exception as error:
        # A traceback refers to the loader's frames and would keep its workers alive; the traceback in the
        # worker is part of the message.
        raise error.with_traceback(None) from error.__cause__


@final
class WorkersTrain:
    """Training batches of image files; worker processes live for one epoch.

    Attributes:
        order: of the images in each epoch, and which version of them it shows.
    """

    def __init__(
        self,
        split: Files,
        dataset: Dataset,
        order: TrainOrder,
        device: torch.device,
        workers: int,
        second_view: SecondView,
        distortion: Distortion,
    ) -> None:
        self._split, self.order, self._device, self._distortion = split, order, device, distortion
        self._flip, self._crop = dataset.flip, dataset.resized_crop
        self._workers, self._second_view = workers, second_view
        self._normalise = Normalise(dataset, split.size[1], device)

    def __len__(self) -> int:
        return len(self.order)

    def in_order(self, version: int, size: int, rank: int = 0, world: int = 1) -> Iterator[Shown]:
        """Every image once and in order, in its first view in this version; see :data:`Shown`."""
        index = torch.arange(len(self._split))
        spans = list(EvalOrder(len(index), size, rank, world).spans(0))
        jobs = Jobs([index], [index], [filled(rows, size) for rows in spans])
        batches = _read(self._reader(version), jobs, self._workers, self._device)
        for rows, pixels in zip(spans, batches, strict=True):
            yield rows, self._shown(pixels[:, 0], version, 0, filled(rows, size))

    def _shown(self, pixels: Tensor, version: int, view: int, rows: Tensor) -> Tensor:
        """(B, H, W, C) -> normalised (B, C, H, W), with Cutout's square; ``rows`` seed the draws."""
        x = self._normalise(pixels)
        if self._distortion.side == 0:
            return x
        draws = self._distortion.each(self.order.seed, version, view, rows.tolist())
        return self._distortion.hidden(x, draws)

    def _reader(self, version: int) -> Reader:
        key = None if self.order.augmentations == 0 else (self.order.seed, version)
        return Reader(self._split, self._flip, key, self._distortion, self._crop)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        generator = self.order.generator(epoch)
        items, index = self.order.drawn(self._split.y, generator)
        shown = list(view_rows(self._second_view, self._split.y, index, generator))
        # With a fixed number of versions the draws of a view are seeded by the row of its image, else by the
        # number of the item.
        drawn = [items] * len(shown) if self.order.versions is None else shown
        spans = list(self.order.spans(start))
        y, rows = (t.to(self._device) for t in (self._split.y[index], index))
        jobs = Jobs(drawn, shown, spans)
        version = self.order.version(epoch)
        batches = _read(self._reader(version), jobs, self._workers, self._device)
        for span, pixels in zip(spans, batches, strict=True):
            x = tuple(
                self._shown(each, version, view, drawn[view][span])
                for view, each in enumerate(pixels.unbind(1))
            )
            yield Batch(x, y[span], rows[span])


@final
class WorkersEval:
    """Evaluation batches of image files, cropped in the centre, in the order of the split."""

    def __init__(
        self, split: Files, dataset: Dataset, order: EvalOrder, device: torch.device, workers: int
    ) -> None:
        self._split, self._order, self._device, self._workers = split, order, device, workers
        self._normalise = Normalise(dataset, split.size[1], device)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        index = torch.arange(len(self._split))
        spans = list(self._order.spans(start))
        y, rows = (t.to(self._device) for t in (self._split.y, index))
        jobs = Jobs([index], [index], spans)
        batches = _read(Reader(self._split), jobs, self._workers, self._device)
        for span, pixels in zip(spans, batches, strict=True):
            yield Batch((self._normalise(pixels[:, 0]),), y[span], rows[span])
