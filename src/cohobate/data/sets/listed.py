"""What data sets of picture files have in common: from lists of files and labels to a data set.

A data set finds its place (:func:`find`), lists the files of its splits with their labels (by class folders,
:func:`by_class`, or from a list of its own, :func:`inside`), and gives the lists to :func:`from_lists`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from ...config.objects import nearest
from ...config.sizes import Size
from ...config.text import shown
from ..dataset import Dataset
from ..from_files import from_files
from ..listing import Found, below, classes_of
from ..reader import Listing
from ..wanted import Wanted
from . import SETS, Whereabouts

Pairs = Sequence[tuple[Path, int]]
"""Files and their labels."""


def find(root: Path, layouts: Iterable[str], holds: Callable[[Path], bool]) -> Path | None:
    """The first of these folders in ``root``, or ``root`` itself, that holds the data set.

    Args:
        root: the folder where data sets lie.
        layouts: names of the folder that the data set's download makes.
        holds: whether a folder has what the data set must have; it opens no file.
    """
    return next((path for path in (*(root / name for name in layouts), root) if holds(path)), None)


def missing(name: str, root: Path) -> FileNotFoundError:
    """That a data set is not there: where it was looked for, where to get it and what to put where."""
    entry = SETS[name]
    return FileNotFoundError(
        f"no {name} in {shown(root.absolute())}: put {entry.layouts} there, from {entry.address}, or give "
        "the folder that holds it as --data-root"
    )


def look(name: str, place: Path | None, needed: Sequence[str]) -> Whereabouts:
    """Where a data set is, by its place and the files and folders that this should hold.

    Args:
        name: of the data set.
        place: a folder, an archive, or None.
        needed: files and folders of the place; a folder counts by its name, what is in it is not looked at.
    """
    if place is None or place.is_file():
        files = {place.name: place.stat().st_size} if place is not None else {}
        return Whereabouts(SETS[name].layouts, place, files, ())
    there = {each: place / each for each in needed if (place / each).exists()}
    files = {each: path.stat().st_size for each, path in there.items() if path.is_file()}
    return Whereabouts(SETS[name].layouts, place, files, tuple(each for each in needed if each not in there))


class Layout(NamedTuple):
    """A data set that is read from a folder only: how it is found, and what it must hold.

    Attributes:
        name: of the data set.
        folders: names of the folder that its download makes, or that people give it.
        holds: files and folders by which it is known.
        needed: all that it must hold.
        beside: a folder of it where files may lie that are looked for in it.
    """

    name: str
    folders: tuple[str, ...]
    holds: tuple[str, ...]
    needed: tuple[str, ...]
    beside: str = ""

    def place(self, root: Path) -> Path | None:
        """The folder that holds it, in ``root`` or ``root`` itself."""
        return find(root, self.folders, lambda path: all(self.at(path, each).exists() for each in self.holds))

    def at(self, place: Path, name: str) -> Path:
        """A file or folder of the place."""
        paths = place / name, place / self.beside / name
        return next((path for path in paths if path.exists()), paths[0])

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds it, or one of its name does."""
        return self.place(folder) is not None

    def whereabouts(self, root: Path) -> Whereabouts:
        """Where it would be read."""
        place = self.place(root)
        needed = self.needed
        if place is not None:
            needed = tuple(str(self.at(place, each).relative_to(place)) for each in needed)
        return look(self.name, place, needed)


def inside(folder: Path, names: Iterable[str]) -> list[Path]:
    """Files that a list names, relative to a folder.

    Raises:
        ValueError: a name that leads out of the folder, by its parts or by a link.
    """
    own = folder.resolve()

    @cache
    def within(path: Path) -> bool:
        return path.resolve().is_relative_to(own)

    paths = []
    for name in names:
        pure = PurePosixPath(name)
        path = folder / pure
        outside = pure.is_absolute() or ".." in pure.parts or "\\" in name
        if outside or not within(path.parent) or (path.is_symlink() and not within(path)):
            raise ValueError(f"a list names {name!r}, which is not in {shown(folder)}; mend the list")
        paths.append(path)
    return paths


def by_class(
    folder: Path,
    classes: Sequence[str],
    root: Path,
    *,
    below_them: str = "",
    beside: Sequence[str] = (),
) -> tuple[list[tuple[Path, int]], Found]:
    """The images in the class folders of a split, and below them, with what else was found.

    Args:
        folder: of the split.
        classes: names of the class folders; the label is the place in this order.
        root: links may not leave it.
        below_them: a folder in each of them that holds its images, where there is such.
        beside: names of folders beside the class folders, which are passed over.

    Raises:
        ValueError: a folder of no class, a class without a folder or without an image.
    """
    found = Found(root)
    there = set(classes_of(folder, found)) - set(beside)
    for name in sorted(there - set(classes)):
        raise ValueError(
            f"{shown(folder)} has a folder {name!r}, which is no class; the nearest are "
            f"{nearest(name, classes)}"
        )
    pairs: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        if name not in there:
            raise ValueError(f"{shown(folder)} has no folder of the class {name!r}")
        deeper = folder / name / below_them
        own = deeper if deeper.is_dir() else folder / name
        below(own, folder, found)
        if len(found.paths) == len(pairs):
            raise ValueError(f"{shown(own)} has no image in it or below it")
        pairs += [(path, label) for path in found.paths[len(pairs) :]]
    return pairs, found


def from_lists(
    name: str,
    classes: Sequence[str],
    splits: Mapping[str, Pairs],
    wanted: Wanted,
    *,
    size: Size,
    published: Mapping[str, int],
    stored: Size | None = None,
    notes: Sequence[str] = (),
    broken: Sequence[tuple[Path, str]] = (),
) -> Dataset:
    """A data set of picture files, read as those of a folder are; see :mod:`cohobate.data.from_files`.

    Args:
        name: of the data set.
        classes: K names.
        splits: ``train``, and ``val`` and ``test`` where there are such: files and labels.
        wanted: how a run wants them to be read.
        size: (height, width) where the run names none.
        published: how many images each split has, as published; what differs becomes a note.
        stored: (height, width) of all the files, where it is one and at most 64: smaller images in memory are
            averaged from it.
        notes: further remarks.
        broken: links that lead nowhere, and why.

    Raises:
        ValueError: no training images, a class without one, or files that cannot be read.
    """
    given = {part: pairs for part, pairs in splits.items() if pairs}
    require_classes(name, classes, [label for _, label in given.get("train", ())])
    listings: dict[str, Listing] = {
        part: (tuple(path for path, _ in pairs), torch.tensor([label for _, label in pairs]))
        for part, pairs in given.items()
    }
    shape = wanted.size or size
    differs = counted({part: len(y) for part, (_, y) in listings.items()}, published)
    smaller = stored if stored is not None and shape[0] <= stored[0] and shape[1] <= stored[1] else None
    if wanted.reading.eval_resize is not None or not wanted.in_memory:
        smaller = None  # they are resized as the run says
    return from_files(
        name,
        tuple(classes),
        listings,
        shape,
        wanted,
        broken=broken,
        guessed=None if stored is None else max(stored),
        stored=smaller,
        notes=(*notes, *differs),
    )


def counted(have: Mapping[str, int], published: Mapping[str, int]) -> tuple[str, ...]:
    """A note on the splits that have another number of images than is published; none where all agree."""
    parts = [
        f"{part} has {have[part]:,} of {number:,}" if part in have else f"no {part} split of {number:,}"
        for part, number in published.items()
        if have.get(part) != number
    ]
    return (f"not the published number of images: {', '.join(parts)}",) if parts else ()


def require_classes(name: str, classes: Sequence[str], labels: Iterable[int]) -> None:
    """Check that there are training images of every class.

    Raises:
        ValueError: there is none of some.
    """
    there = set(labels)
    without = [each for label, each in enumerate(classes) if label not in there]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise ValueError(f"{name} has no training image of class {without[0]!r}{more}")
