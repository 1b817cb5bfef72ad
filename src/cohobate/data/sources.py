"""Data sets by name, from a folder, or from a file of arrays."""

from __future__ import annotations

import os
from pathlib import Path

from ..config.sizes import Size, size_of
from .averaged import averaged
from .channels import with_channels
from .dataset import Dataset
from .folder import Care, load_folder
from .npz import SUFFIX, load_npz
from .pictures import Reading, changed
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
) -> Dataset:
    """The data set of this name, in this folder, or in this file of arrays.

    Args:
        spec: one of :data:`cohobate.data.sets.SETS`; or the path of a folder, of images in
            ``train/<class>/``, of ``images/`` and ``masks/``, or with one of those data sets in it; or of an
            ``.npz`` file.
        root: where the files of a name are.
        image_size: that the network sees, in pixels: a side, or (height, width); None lets the data decide.
        channels: 1 for grey images, 3 for RGB; others are for arrays. None: as the data set has it.
        reading: how a picture of a folder becomes an image of that size; by default :class:`Reading`'s own.
        care: what is done about files of a folder that cannot be read; by default :class:`Care`'s own.

    Raises:
        ValueError: an unknown name, damaged data, a size larger than that of images in memory, or channels
            that the data does not have.
        FileNotFoundError: nothing is there.
    """
    if spec in SETS:
        return _named(spec, root, image_size, channels, reading, care)
    path = Path(spec).expanduser()
    if path.suffix == SUFFIX and not path.is_dir():
        _refuse_those_of_pictures(spec, reading, care)
        return averaged(load_npz(path, channels), None if image_size is None else size_of(image_size))
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
        return _named(names[0], path, image_size, channels, reading, care)
    if has_masks(path):
        size = None if image_size is None else size_of(image_size)
        return load_scenes(path, size, reading, care, channels=channels)
    return load_folder(path, image_size, reading, care, channels=channels)


def sets_in(folder: Path) -> list[str]:
    """Names of the data sets that a folder holds, by its content."""
    return [name for name in SETS if source(name).is_in(folder)]


def _named(
    name: str,
    root: Path,
    image_size: int | Size | None,
    channels: int | None,
    reading: Reading | None,
    care: Care | None,
) -> Dataset:
    if not SETS[name].pictures:
        _refuse_those_of_pictures(name, reading, care)
    size = None if image_size is None else size_of(image_size)
    dataset = source(name).load(root, Wanted(size, reading or Reading(), care or Care()))
    return with_channels(averaged(dataset, size), channels)


def _refuse_those_of_pictures(name: str, reading: Reading | None, care: Care | None) -> None:
    given = [f"{key} {value}" for key, value in changed(reading or Reading()).items()]
    given += ["skip_unreadable"] if care is not None and care.skip else []
    if given:
        raise ValueError(f"{given[0]} is for pictures in files; {name} is read as it is, leave it out")
