"""A folder of images in class folders: train/<class>/, and val/ and test/ like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..config.sizes import Size, shown_size, size_of
from ..config.text import shown
from ..core import IGNORED
from .dataset import Dataset, Split
from .from_files import from_files
from .listing import Found, below, classes_of, parts_of
from .pictures import EXTENSIONS, SMALL, Reading
from .reader import Care, Listing, sound, split_of
from .stored import Picture, opened
from .views import margin_of
from .wanted import Wanted

LARGE = 224


def load_folder(
    root: Path,
    image_size: int | Size | None = None,
    reading: Reading | None = None,
    care: Care | None = None,
    *,
    channels: int | None = None,
    in_memory: bool = True,
) -> Dataset:
    """Images in class folders; the classes are the folders of ``train``, sorted by name.

    The images of a class may lie in folders below its own. What is not read is counted in the notes.

    Up to 64 pixels a side the images are decoded once and held in memory, with the mean and
    standard deviation of the training images, random crops (padding of an eighth) and flips. Larger
    ones stay on disk and are normalised by ImageNet's mean and standard deviation.

    Args:
        root: holds ``train`` and, where there are such, ``val`` and ``test``, or what else
            :data:`cohobate.data.listing.PARTS` has for them.
        image_size: in pixels, a side or (height, width). None: that of the first 32 images where they are
            equal, square and at most 64; else 224.
        reading: how a picture becomes an image of that size.
        care: what is done about files that cannot be read.
        channels: 3 (RGB), or 1: read as grey; None: as ``reading`` says.
        in_memory: whether images of up to 64 pixels are; else they are left on disk as larger ones are.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no train folder, two for one split, an empty class, a class that train does not have, a
            link that leaves the folder, files that cannot be read, another number of channels, or a picture
            that is made smaller than its central crop.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {shown(root.absolute())}")
    if image_size is not None and min(size_of(image_size)) < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    reading, care = reading or Reading(), care or Care()
    if channels is not None:
        reading = replace(reading, channels=channels)
    beside = Found(root)
    folders = parts_of(root, beside)
    if "train" not in folders:
        raise ValueError(
            f"{shown(root)} has no folder train; images are expected in train/<class>/, or "
            "with masks in images/ and masks/"
        )
    found = {part: Found(root) for part in folders}
    classes = tuple(classes_of(folders["train"], Found(root)))
    if not classes:
        raise ValueError(
            f"{shown(folders['train'])} has no class folders; images are expected in train/<class>/"
        )
    listings = {part: _listing(folder, classes, found[part]) for part, folder in folders.items()}
    notes = list(beside.note("beside the splits"))
    for part, each in found.items():
        notes += each.note(f"in {folders[part].name}")
    size = size_of(image_size or common_side(listings["train"][0][:32]))
    broken = [each for part in (beside, *found.values()) for each in part.broken]
    if image_size is None and max(size) > SMALL:
        notes.append(guess(size))
    return from_files(
        shown(root.absolute().name),
        classes,
        listings,
        size,
        Wanted(size, reading, care, in_memory),
        broken=broken,
        guessed=None if image_size else max(size),
        notes=notes,
    )


def guess(size: Size) -> str:
    return f"images are seen at {shown_size(size)} pixels, since no --image-size is given"


def load_pictures(
    root: Path,
    size: tuple[int, int],
    reading: Reading | None = None,
    care: Care | None = None,
    *,
    in_memory: bool = True,
) -> tuple[Split, tuple[str, ...]]:
    """All images in a folder and below it, in whatever folders they lie, without labels (-100); and notes.

    A folder with ``train`` in it gives what is below that, as ``val`` and ``test`` are not for
    training. Up to 64 pixels a side the images are held in memory, as those of :func:`load_folder`.

    Args:
        root: the folder; links to folders are not followed.
        size: (height, width) that the network sees, in pixels.
        reading: how a picture becomes an image of that size.
        care: what is done about files that cannot be read.
        in_memory: as in :func:`load_folder`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image, a link that leaves the folder, or files that cannot be read.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {shown(root.absolute())}")
    reading, care = reading or Reading(), care or Care()
    folder = parts_of(root, Found(root), ["train"]).get("train", root)
    found = Found(root)
    below(folder, folder, found)
    if not found.paths:
        raise ValueError(
            f"{shown(folder)} has no image in it or below it; looked for {', '.join(EXTENSIONS)}"
        )
    margin_of(size, reading.eval_resize)
    listing = tuple(found.paths), torch.full((len(found.paths),), IGNORED)
    listings, said = sound({"train": listing}, (), found.broken, None, reading, care)
    notes = (*found.note(f"in {folder.name}"), *said)
    split = split_of(*listings["train"], size, reading, in_memory=in_memory)
    return split, notes


def _listing(folder: Path, classes: tuple[str, ...], found: Found) -> Listing:
    """The files and labels of a split.

    Raises:
        ValueError: a class that is not one of these, or that has no image.
    """
    names = classes_of(folder, found)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ValueError(f"{shown(folder)} has a class {unknown[0]!r} that train does not have")
    if not names:
        raise ValueError(f"{shown(folder)} has no class folders")
    labels: list[int] = []
    for name in names:
        below(folder / name, folder, found)
        if len(found.paths) == len(labels):
            raise ValueError(
                f"{shown(folder / name)} is empty: there is no image in it or below it; remove it, or "
                "put images there"
            )
        labels += [classes.index(name)] * (len(found.paths) - len(labels))
    return tuple(found.paths), torch.tensor(labels)


def common_side(paths: Sequence[Picture]) -> int:
    """The side of square images that are all of one size, at most 64; else 224."""
    sizes = set()
    for path in paths:
        try:
            with opened(path) as picture:
                sizes.add(picture.size)
        # A file that cannot be read is reported by the check, or when it is decoded.
        except Exception:
            continue
    width, height = sizes.pop() if sizes else (LARGE, LARGE)
    return width if not sizes and width == height <= SMALL else LARGE
