"""Lists of picture files and labels become splits: files are checked, and small images decoded, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config.sizes import Size
from ..config.words import count
from .areas import PART, area_means
from .dataset import Channels, Files, Images, Labelled
from .headers import Findings, Progress, check, listed
from .listing import refuse
from .pictures import REMEDY, SMALL, PictureError, Reading, decode
from .stored import Picture
from .views import margin_of, whole

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Listing = tuple[tuple[Picture, ...], Tensor]
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


def imagenet(channels: int) -> tuple[Channels, Channels]:
    """Mean and standard deviation of ImageNet; in one channel, the mean of each over the three."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (round(sum(IMAGENET_MEAN) / 3, 3),), (round(sum(IMAGENET_STD) / 3, 3),)


def sound(
    listings: dict[str, Listing],
    classes: tuple[str, ...],
    broken: Sequence[tuple[Path, str]],
    guessed: int | None,
    reading: Reading,
    care: Care,
) -> tuple[dict[str, Listing], tuple[str, ...]]:
    """The files that can be read, as far as a check tells, and remarks on how they are read.

    Raises:
        ValueError: some cannot be read and are not to be skipped, or none is left of a class.
    """
    paths = [path for each, _ in listings.values() for path in each]
    if care.check:
        findings = check(paths, reading, thorough=care.skip, progress=care.progress)
    else:
        findings = Findings(len(paths))
    bad = [*broken, *findings.bad]
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


def _without(dropped: set[Picture], listing: Listing, part: str, classes: tuple[str, ...]) -> Listing:
    paths, y = listing
    rows = [row for row, path in enumerate(paths) if path not in dropped]
    left = y[rows]
    for label in y.unique().tolist():
        if not (left == label).any():
            of = f" of class {classes[label]!r}" if classes else ""
            raise ValueError(f"none of the images{of} in {part} can be read")
    return tuple(paths[row] for row in rows), left


def split_of(
    paths: tuple[Picture, ...],
    y: Tensor,
    size: Size,
    reading: Reading,
    stored: Size | None = None,
    in_memory: bool = True,
) -> Labelled:
    """The images of these files: in memory up to 64 pixels a side, else read when they are shown.

    Args:
        paths: N files.
        y: (N,), labels.
        size: (height, width) that the network sees, in pixels.
        reading: how a picture becomes an image.
        stored: (height, width) that all the files have: images in memory are averaged from it to ``size``.
        in_memory: False: all are read when they are shown.

    Raises:
        PictureError: one that is decoded now cannot be.
        ValueError: pictures are made smaller than their central crop.
    """
    margin_of(size, reading.eval_resize)
    if max(size) > SMALL or not in_memory:
        return Files(paths, y, size, reading)
    x = torch.empty(len(paths), *size, reading.channels, dtype=torch.uint8)
    for start in range(0, len(paths), PART):
        block = _block(paths[start : start + PART], stored or size, reading)
        x[start : start + PART] = area_means(block, size)
    return Images(x, y)


def _block(paths: tuple[Picture, ...], size: Size, reading: Reading) -> Tensor:
    x = torch.empty(len(paths), *size, reading.channels, dtype=torch.uint8)
    for row, path in enumerate(paths):
        try:
            picture = whole(decode(path, reading), size, reading)
        except PictureError as error:
            raise PictureError(f"{error}; {REMEDY}") from error
        x[row] = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(x.shape[1:])
    return x
