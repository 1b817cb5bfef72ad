"""A folder of images in class folders: train/<class>/, and val/ and test/ like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..config.sizes import Size, shown_size, size_of
from ..config.text import shown
from ..config.words import count
from ..core import IGNORED
from .dataset import Channels, Dataset, Files, Images, Split, channel_statistics
from .headers import Findings, Progress, check, listed
from .listing import Found, below, classes_of, parts_of, refuse
from .pictures import EXTENSIONS, REMEDY, SMALL, PictureError, Reading, decode
from .views import whole

LARGE = 224

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Labelled = tuple[tuple[Path, ...], Tensor]
"""Files and their labels, (N,)."""


@dataclass(frozen=True)
class Care:
    """What is done about files that cannot be read.

    Attributes:
        check: look at every file before anything is trained (:mod:`cohobate.data.headers`).
        skip: leave out files that cannot be read, and say so; every file is decoded to find them.
        progress: is told how many files of how many are checked.

    Raises:
        ValueError: ``skip`` without ``check``.
    """

    check: bool = True
    skip: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.skip and not self.check:
            raise ValueError("skip_unreadable finds such files by the check; leave out --no-check")


def load_folder(
    root: Path,
    image_size: int | Size | None = None,
    reading: Reading | None = None,
    care: Care | None = None,
    *,
    channels: int | None = None,
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

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no train folder, two for one split, an empty class, a class that train does not have, a
            link that leaves the folder, files that cannot be read, or another number of channels.
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
    size = size_of(image_size or _common_side(listings["train"][0][:32]))
    broken = [each for part in (beside, *found.values()) for each in part.broken]
    listings, said = _sound(listings, classes, broken, None if image_size else max(size), reading, care)
    val, test = (listings.get(part) for part in ("val", "test"))
    split = partial(_split, size=size, reading=reading)
    images = split(*listings["train"])
    mean, std = channel_statistics(images.x) if isinstance(images, Images) else imagenet(reading.channels)
    read_test: Callable[[], Split] | None = None if test is None else partial(split, *test)
    return Dataset(
        shown(root.absolute().name),
        classes,
        images,
        None if val is None else split(*val),
        read_test,
        mean,
        std,
        max(1, min(size) // 8) if isinstance(images, Images) else 0,
        flip=True,
        notes=(*notes, *([_guess(size)] if image_size is None and max(size) > SMALL else []), *said),
    )


def _guess(size: Size) -> str:
    return f"images are seen at {shown_size(size)} pixels, since no --image-size is given"


def imagenet(channels: int) -> tuple[Channels, Channels]:
    """Mean and standard deviation of ImageNet; in one channel, the mean of each over the three."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (round(sum(IMAGENET_MEAN) / 3, 3),), (round(sum(IMAGENET_STD) / 3, 3),)


def load_pictures(
    root: Path, size: tuple[int, int], reading: Reading | None = None, care: Care | None = None
) -> tuple[Split, tuple[str, ...]]:
    """All images in a folder and below it, in whatever folders they lie, without labels (-100); and notes.

    A folder with ``train`` in it gives what is below that, as ``val`` and ``test`` are not for
    training. Up to 64 pixels a side the images are held in memory, as those of :func:`load_folder`.

    Args:
        root: the folder; links to folders are not followed.
        size: (height, width) that the network sees, in pixels.
        reading: how a picture becomes an image of that size.
        care: what is done about files that cannot be read.

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
    listing = tuple(found.paths), torch.full((len(found.paths),), IGNORED)
    listings, said = _sound({"train": listing}, (), found.broken, None, reading, care)
    notes = (*found.note(f"in {folder.name}"), *said)
    return _split(*listings["train"], size, reading), tuple(f"unlabelled images: {note}" for note in notes)


def _listing(folder: Path, classes: tuple[str, ...], found: Found) -> Labelled:
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


def _common_side(paths: tuple[Path, ...]) -> int:
    """The side of square images that are all of one size, at most 64; else 224."""
    sizes = set()
    for path in paths:
        try:
            with Image.open(path) as picture:
                sizes.add(picture.size)
        # A file that cannot be read is reported by the check, or when it is decoded.
        except Exception:
            continue
    width, height = sizes.pop() if sizes else (LARGE, LARGE)
    return width if not sizes and width == height <= SMALL else LARGE


def _sound(
    listings: dict[str, Labelled],
    classes: tuple[str, ...],
    broken: list[tuple[Path, str]],
    guessed: int | None,
    reading: Reading,
    care: Care,
) -> tuple[dict[str, Labelled], tuple[str, ...]]:
    """The files that can be read, as far as a check tells, and remarks on how they are read.

    Raises:
        ValueError: some cannot be read and are not to be skipped, or none is left of a class.
    """
    paths = [path for each, _ in listings.values() for path in each]
    if care.check:
        findings = check(paths, reading, thorough=care.skip, progress=care.progress)
    else:
        findings = Findings(len(paths))
    bad = broken + findings.bad
    if not care.skip:
        refuse(bad, len(paths) + len(broken))
    if not care.check:
        return listings, ("the images were not checked before the training (--no-check)",)
    notes = findings.notes(reading, guessed)
    if not bad:
        return listings, notes
    notes = (f"{count(len(bad), 'unreadable file')} skipped: {listed(bad)}", *notes)
    dropped = {path for path, _ in bad}
    return {part: _without(dropped, each, part, classes) for part, each in listings.items()}, notes


def _without(dropped: set[Path], listing: Labelled, part: str, classes: tuple[str, ...]) -> Labelled:
    paths, y = listing
    rows = [row for row, path in enumerate(paths) if path not in dropped]
    left = y[rows]
    for label in y.unique().tolist():
        if not (left == label).any():
            of = f" of class {classes[label]!r}" if classes else ""
            raise ValueError(f"none of the images{of} in {part} can be read")
    return tuple(paths[row] for row in rows), left


def _split(paths: tuple[Path, ...], y: Tensor, size: tuple[int, int], reading: Reading) -> Split:
    height, width = size
    if max(size) > SMALL:
        return Files(paths, y, size, reading)
    x = torch.empty(len(paths), height, width, reading.channels, dtype=torch.uint8)
    for row, path in enumerate(paths):
        try:
            picture = whole(decode(path, reading), size, reading)
        except PictureError as error:
            raise PictureError(f"{error}; {REMEDY}") from error
        x[row] = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(x.shape[1:])
    return Images(x, y)
