"""Data sets by name, from a folder, or from a file of arrays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ..config.sizes import Size, size_of
from .averaged import averaged
from .channels import with_channels
from .dataset import Dataset
from .folder import load_folder
from .hub import is_hub, load_hub
from .npz import SUFFIX, load_npz
from .pictures import Reading
from .reader import Care
from .scene_folder import has_masks, load_scenes
from .sets import SETS, source
from .wanted import Wanted


def load_data(
    spec: str,
    root: Path,
    image_size: int | Size | None = None,
    channels: int | None = None,
    *,
    reading: Reading | None = None,
    care: Care | None = None,
    in_memory: bool = True,
) -> Dataset:
    """The data set of this name, in this folder, or in this file of arrays.

    Args:
        spec: one of :data:`cohobate.data.sets.SETS`; or the path of a folder, of images in
            ``train/<class>/``, of ``images/`` and ``masks/``, or with one of those data sets in it; or of an
            ``.npz`` file; or ``hf:NAME`` (:func:`cohobate.data.hub.load_hub`).
        root: where the files of a name are.
        image_size: that the network sees, in pixels: a side, or (height, width); None lets the data decide.
        channels: 1 for grey images, 3 for RGB; others are for arrays. None: as the data set has it.
        reading: how a picture of a folder becomes an image of that size; by default :class:`Reading`'s own.
        care: what is done about files of a folder that cannot be read; by default :class:`Care`'s own.
        in_memory: whether pictures of a folder are held in memory if they are seen at up to 64 pixels; else
            they stay in their files, for random parts of them, resized.

    Raises:
        ValueError: an unknown name, damaged data, a size larger than that of images in memory, or channels
            that the data does not have.
        FileNotFoundError: nothing is there.
    """
    size = None if image_size is None else size_of(image_size)
    wanted = Wanted(size, reading or Reading(), care or Care(), in_memory)
    if spec in SETS:
        return _named(spec, root, wanted, channels)
    if is_hub(spec):
        if channels is not None:
            wanted = replace(wanted, reading=replace(wanted.reading, channels=channels))
        return load_hub(spec, wanted)
    path = Path(spec).expanduser()
    if path.suffix == SUFFIX and not path.is_dir():
        wanted.refuse_for_pictures(spec)
        return _whole(averaged(load_npz(path, channels), size), wanted)
    separators = [s for s in (os.sep, os.altsep) if s]
    if not path.is_dir() and not any(s in spec for s in separators):
        raise ValueError(
            f"unknown data set {spec!r}; the names are {', '.join(SETS)}, "
            f"and a folder of images is given by its path (./{spec}), arrays by that of their .npz"
        )
    names = sets_in(path)
    if len(names) > 1:
        raise ValueError(f"{path} holds {' and '.join(names)}; ask for one by name, with this folder as root")
    if names:
        return _named(names[0], path, wanted, channels)
    if has_masks(path):
        return load_scenes(path, wanted.size, reading, care, channels=channels)
    return load_folder(path, image_size, reading, care, channels=channels, in_memory=in_memory)


def are_pictures(spec: str, root: Path) -> bool:
    """Whether the images that ``--data`` names are pictures in files, which are read as a run says.

    Answered by what is there: one data set may be a folder of pictures, an archive, or a table.

    Args:
        spec, root: as in :func:`load_data`.
    """
    if is_hub(spec):
        return True
    path = Path(spec).expanduser()
    if spec in SETS:
        return _in_files(spec, root)
    names = sets_in(path)
    return any(_in_files(name, path) for name in names) if names else path.is_dir()


def has_sizes(spec: str) -> bool:
    """Whether the images that ``--data`` names have no one size of their own, so that one is to be named."""
    if is_hub(spec):
        return True
    path = Path(spec).expanduser()
    names = [spec] if spec in SETS else sets_in(path)
    return any(SETS[name].pictures for name in names) if names else path.is_dir()


def _in_files(name: str, root: Path) -> bool:
    if not SETS[name].pictures:
        return False
    place = source(name).whereabouts(root).place
    return place is None or place.is_dir()


def sets_in(folder: Path) -> list[str]:
    """Names of the data sets that a folder holds, by its content."""
    return [name for name in SETS if source(name).is_in(folder)]


def _named(name: str, root: Path, wanted: Wanted, channels: int | None) -> Dataset:
    if not SETS[name].pictures:
        wanted.refuse_for_pictures(name)
    elif channels is not None:
        wanted = replace(wanted, reading=replace(wanted.reading, channels=channels))
    dataset = source(name).load(root, wanted)
    # A picture that is predicted is made grey before it is averaged, too.
    dataset = averaged(with_channels(dataset, channels), wanted.size)
    return dataset if _in_files(name, root) else _whole(dataset, wanted)


def _whole(dataset: Dataset, wanted: Wanted) -> Dataset:
    """Images in memory, with a note where a check was declined, which is for pictures in files."""
    if wanted.care.check:
        return dataset
    said = f"--no-check changes nothing: {dataset.name} is held in memory, and all of it is read at once"
    return replace(dataset, notes=(*dataset.notes, said))
