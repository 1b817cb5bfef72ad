"""Data sets by name, from a folder, or from a file of arrays."""

from __future__ import annotations

import os
from pathlib import Path

from .channels import with_channels
from .dataset import Dataset
from .folder import Care, load_folder
from .npz import SUFFIX, load_npz
from .pictures import Reading, changed
from .sets import SETS, source


def load_data(
    spec: str,
    root: Path,
    image_size: int | None = None,
    channels: int | None = None,
    *,
    reading: Reading | None = None,
    care: Care | None = None,
) -> Dataset:
    """The data set of this name, in this folder, or in this file of arrays.

    Args:
        spec: one of :data:`cohobate.data.sets.SETS`; or the path of a folder, of images in
            ``train/<class>/`` or with one of those data sets in it; or of an ``.npz`` file.
        root: where the files of a name are.
        image_size: side that the images of a folder are resized to, in pixels; None lets them decide.
        channels: 1 for grey images, 3 for RGB; others are for arrays. None: as the data set has it.
        reading: how a picture of a folder becomes an image of that size; by default :class:`Reading`'s own.
        care: what is done about files of a folder that cannot be read; by default :class:`Care`'s own.

    Raises:
        ValueError: an unknown name, damaged data, a size for data that has one, or channels that it does not
            have.
        FileNotFoundError: nothing is there.
    """
    if spec in SETS:
        return _named(spec, root, image_size, channels, reading, care)
    path = Path(spec).expanduser()
    if path.suffix == SUFFIX and not path.is_dir():
        _refuse_those_of_folders(spec, image_size, reading, care)
        return load_npz(path, channels)
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
    return load_folder(path, image_size, reading, care, channels=channels)


def sets_in(folder: Path) -> list[str]:
    """Names of the data sets that a folder holds, by its content."""
    return [name for name in SETS if source(name).is_in(folder)]


def _named(
    name: str,
    root: Path,
    image_size: int | None,
    channels: int | None,
    reading: Reading | None,
    care: Care | None,
) -> Dataset:
    _refuse_those_of_folders(name, image_size, reading, care)
    return with_channels(source(name).load(root), channels)


def _refuse_those_of_folders(
    name: str, image_size: int | None, reading: Reading | None, care: Care | None
) -> None:
    if image_size is not None:
        raise ValueError(f"image_size {image_size} is for folders of images; {name} has a size of its own")
    given = [f"{key} {value}" for key, value in changed(reading or Reading()).items()]
    given += ["skip_unreadable"] if care is not None and care.skip else []
    if given:
        raise ValueError(f"{given[0]} is for folders of images; {name} is read as it is, leave it out")
