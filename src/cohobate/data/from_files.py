"""From lists of pictures and labels to a data set, whatever they were listed from: folders, lists, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..config.sizes import Size
from .averaged import averaging
from .dataset import Dataset, Images, channel_statistics
from .reader import Listing, imagenet, sound, split_of
from .views import margin_of
from .wanted import Wanted


def from_files(
    name: str,
    classes: tuple[str, ...],
    listings: Mapping[str, Listing],
    size: Size,
    wanted: Wanted,
    *,
    broken: Sequence[tuple[Path, str]] = (),
    guessed: int | None = None,
    stored: Size | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """A data set of pictures, which are checked first.

    Up to 64 pixels a side the images are decoded once and held in memory, normalised by the training images'
    own mean and standard deviation, with random crops (padding of an eighth); larger ones stay where they
    are, are normalised by ImageNet's, and training shows random parts of them.

    Args:
        name: of the data set.
        classes: K names.
        listings: ``train``, and ``val`` and ``test`` where there are such.
        size: (height, width) that the network sees, in pixels.
        wanted: how a run wants them to be read; its own size is not looked at.
        broken: links that lead nowhere, and why.
        guessed: side in pixels that is taken for that of all pictures; how many have another is a note.
        stored: (height, width) from which images in memory are averaged; None: each is resized at once.
        notes: further remarks.

    Raises:
        ValueError: pictures are made smaller than their central crop, or files cannot be read.
    """
    reading = wanted.reading
    # It is known at once, and the headers of a million files are not.
    margin_of(size, reading.eval_resize)
    listings, said = sound(dict(listings), classes, broken, guessed, reading, wanted.care)
    split = partial(split_of, size=size, reading=reading, stored=stored, in_memory=wanted.in_memory)
    train = split(*listings["train"])
    mean, std = imagenet(reading.channels)
    if isinstance(train, Images):
        mean, std = channel_statistics(train.x)
    return Dataset(
        name,
        classes,
        train,
        split(*listings["val"]) if "val" in listings else None,
        partial(split, *listings["test"]) if "test" in listings else None,
        mean,
        std,
        crop=max(1, min(size) // 8) if isinstance(train, Images) else 0,
        flip=True,
        notes=(*notes, *said, *(averaging(stored, size) if stored else ())),
        averaged_from=None if stored == size else stored,
    )
