"""Unlabelled training images: how they are read, and how they are appended to a batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from ..core import IGNORED, Batch, Loader
from .averaged import if_larger
from .dataset import Dataset, Split, labelled
from .folder import load_pictures
from .pictures import Reading
from .reader import Care
from .sets import SETS
from .sources import are_pictures, has_sizes, load_data, sets_in


def unlabelled(
    spec: str,
    root: Path,
    like: Dataset,
    *,
    reading: Reading | None = None,
    care: Care | None = None,
    in_memory: bool = True,
) -> tuple[Split, tuple[str, ...]]:
    """Images to learn from beside those of ``like``, and remarks on them.

    Every label is -100, which no loss counts.

    Args:
        spec: a name of :data:`cohobate.data.sets.SETS` (its training images, averaged over areas where they
            are held in memory and larger), or a folder of images, sorted into folders or not (what is below
            ``train`` if there is such a folder).
        root: folder with the files of the named data sets.
        like: data set whose image size and channels are required; the images of a folder are resized to it,
            and grey and RGB are turned into one another.
        reading: how a picture of a folder becomes an image of that size.
        care: what is done about files of a folder that cannot be read.
        in_memory: whether pictures of up to 64 pixels are (:func:`cohobate.data.sources.load_data`).

    Raises:
        ValueError: images of another size, no image, an unknown name, damaged data.
        FileNotFoundError: nothing is there.
    """
    path = Path(spec).expanduser()
    channels = like.shape[0]
    if spec in SETS or not path.is_dir() or sets_in(path):
        known = _known(spec, root, like, reading, care, in_memory)
        return fitting(known.train, like, spec), _of_unlabelled(known.notes)
    if channels not in (1, 3):
        raise ValueError(
            f"images of {like.name} have {channels} channels, and those of a folder, {spec}, 1 or 3; give "
            "unlabelled images of as many channels in a file .npz"
        )
    reading = replace(reading or Reading(), channels=channels)
    split, notes = load_pictures(path, like.shape[1:], reading, care, in_memory=in_memory)
    return fitting(split, like, spec), _of_unlabelled(notes)


def _of_unlabelled(notes: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"unlabelled images: {note}" for note in notes)


def _known(
    spec: str, root: Path, like: Dataset, reading: Reading | None, care: Care | None, in_memory: bool
) -> Dataset:
    """A data set by its name, or the one in a folder, or arrays; pictures are read as those of ``like``."""
    channels, *size = like.shape
    wanted = size[0], size[1]
    if not are_pictures(spec, root):
        reading = care = None  # those are for pictures in files
    if has_sizes(spec):
        return load_data(spec, root, wanted, channels, reading=reading, care=care, in_memory=in_memory)
    dataset = load_data(spec, root, channels=channels, in_memory=in_memory)
    return if_larger(dataset, wanted)


def fitting(split: Split, like: Dataset, name: str = "the unlabelled images") -> Split:
    """The same images without labels, if they are of the size and channels of ``like``.

    Raises:
        ValueError: they are of another size, or have other channels; or labels are masks.
    """
    labelled(like.train, "learning from unlabelled images")
    images = labelled(split, "learning from unlabelled images")
    (channels, *own), (wanted_channels, *wanted) = split.shape, like.shape
    if channels != wanted_channels:
        raise ValueError(
            f"images of {name} have {channels} channels, those of {like.name} {wanted_channels}; give as many"
        )
    if own != wanted:
        raise ValueError(
            f"images of {name} are {own[0]} x {own[1]}, those of {like.name} {wanted[0]} x {wanted[1]}; "
            "give a folder of images (they are resized), or a data set of this size"
        )
    return replace(images, y=torch.full((len(images),), IGNORED))


class WithUnlabelled:
    """Batches of labelled images followed by unlabelled ones, for terms between student and teacher.

    The labels of the unlabelled images are -100, which the cross-entropy ignores; ``index`` is None, as
    they are no rows of the training split, and so is ``taught``. Batch norm sees the larger batch, the
    unlabelled images included, and its statistics are those of the mixture.

    The unlabelled images run through epochs of their own: micro-batch i of epoch e gets number
    ``e * len(labelled) + i`` of them, so that a start in the middle gives the tail.

    Args:
        labelled: batches of the training split.
        unlabelled: batches with the same number of views, on the same device.
    """

    def __init__(self, labelled: Loader, unlabelled: Loader) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def __len__(self) -> int:
        return len(self.labelled)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        with closing(self._others(epoch * len(self) + start)) as others:
            for batch, other in zip(self.labelled.epoch(epoch, start), others, strict=False):
                views = tuple(torch.cat(pair) for pair in zip(batch.views, other.views, strict=True))
                yield Batch(views, torch.cat([batch.y, other.y]))

    def _others(self, position: int) -> Generator[Batch]:
        """Unlabelled batches from number ``position`` on, epoch after epoch without end."""
        epoch, start = divmod(position, len(self.unlabelled))
        while True:
            yield from self.unlabelled.epoch(epoch, start)
            epoch, start = epoch + 1, 0
