"""What CIFAR-10 and CIFAR-100 have in common: the forms that they are published in, and how to read them.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009. Nothing is extracted from
an archive, and pickles go through the restricted reader of :mod:`cohobate.data.pickles`.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from ..dataset import Dataset, Images, channel_statistics
from ..pickles import unpickle
from . import SETS, Whereabouts

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Form:
    """How a variant is laid out, in a folder or in an archive of it.

    Attributes:
        folder: name of the folder.
        archive: name of the archive.
        train: files of the training split.
        test: file of the test split.
        meta: file of the class names.
        before: label bytes ahead of each image (the last is the label); None for pickles.
        labels: key of the labels in a pickle.
        names: key of the class names in a pickle.
        md5: published checksums of files and archive.
    """

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: str
    before: int | None
    md5: dict[str, str]
    labels: str = ""
    names: str = ""


@dataclass(frozen=True)
class Place:
    """A form of the data set on disk: the folder or archive that holds it."""

    form: Form
    path: Path

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """Contents of the named files, as far as they are there.

        Raises:
            ValueError: the archive is damaged.
        """
        if self.path.is_dir():
            return {name: (self.path / name).read_bytes() for name in names if (self.path / name).is_file()}
        try:
            return _members(self.path, names)
        except FileNotFoundError:
            raise
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise ValueError(f"{self.path} is damaged or truncated: {error}") from error

    def notes(self) -> tuple[str, ...]:
        """Which files are not the published ones, by their checksums."""
        single = [self.path] if self.path.is_file() else []
        files = single or [self.path / name for name in self.form.md5 if (self.path / name).is_file()]
        others = [file.name for file in files if _md5(file) != self.form.md5[file.name]]
        return (f"md5 differs from the published one: {', '.join(others)}",) if others else ()


def find(forms: Sequence[Form], root: Path) -> Place | None:
    """The first of the forms that is in ``root``, or that ``root`` itself is."""
    for form in forms:
        for path in (root / form.folder, root / form.archive):
            if path.exists():
                return Place(form, path)
    for form in forms:
        if (root / form.meta).is_file() and any((root / file).is_file() for file in (*form.train, form.test)):
            return Place(form, root)
    return None


def look(forms: Sequence[Form], root: Path) -> Whereabouts:
    """Where one of the forms is; of an archive only that it is there."""
    place = find(forms, root)
    if place is None:
        return Whereabouts(_looked_for(forms), None, {}, ())
    form, path = place.form, place.path
    if path.is_file():
        return Whereabouts(_looked_for(forms), path, {path.name: path.stat().st_size}, ())
    needed = (*form.train, form.test, form.meta)
    files = {name: (path / name).stat().st_size for name in needed if (path / name).is_file()}
    return Whereabouts(_looked_for(forms), path, files, tuple(name for name in needed if name not in files))


def _looked_for(forms: Sequence[Form]) -> str:
    return ", ".join(f"{form.folder}/, {form.archive}" for form in forms)


def load_cifar(name: str, forms: Sequence[Form], root: Path) -> Dataset:
    """One of the variants; training batches that are not there go into the notes.

    Args:
        name: its name in reports.
        forms: in which it is published.
        root: the folder that holds a published folder or archive, or that folder itself.

    Raises:
        FileNotFoundError: no form is there, no training file, or no class names.
        ValueError: a damaged file, or a pickle that names something it should not.
    """
    place = find(forms, root)
    if place is None:
        raise FileNotFoundError(
            f"no {name} in {root.absolute()}: looked there for {_looked_for(forms)}, "
            f"and for the files of such a folder; get it from {SETS[name].address}"
        )
    return _build(name, place)


def _build(name: str, place: Place) -> Dataset:
    form = place.form
    files = place.read((*form.train, form.test, form.meta))
    if form.meta not in files:
        raise FileNotFoundError(f"{place.path} does not hold {form.meta}, the names of the classes")
    classes = _class_names(place, files[form.meta])
    parts = [_images(place, file, files[file], len(classes)) for file in form.train if file in files]
    if not parts:
        raise FileNotFoundError(f"{place.path} holds none of the training files {', '.join(form.train)}")
    train = Images(torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts]))
    mean, std = channel_statistics(train.x)
    # Only that the test file is there is of interest now.
    test = partial(_test, place, len(classes)) if form.test in files else None
    notes = (*_absent(form, files, len(train)), *place.notes())
    return Dataset(name, classes, train, None, test, mean, std, crop=4, flip=True, notes=notes)


def _absent(form: Form, files: Mapping[str, bytes], images: int) -> Iterator[str]:
    missing = [file for file in form.train if file not in files]
    if missing:
        yield f"not there: {', '.join(missing)}; the training split has {images} images"
    if form.test not in files:
        yield f"not there: {form.test}; there is no test split"


def _test(place: Place, classes: int) -> Images:
    name = place.form.test
    files = place.read((name,))
    if name not in files:
        raise FileNotFoundError(f"{place.path} no longer holds {name}, the test split")
    return _images(place, name, files[name], classes)


# ---------------------------------------------------------------- bytes


def _members(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    contents = {}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            stream = tar.extractfile(member) if member.isreg() and name in names else None
            if stream is not None:
                contents[name] = stream.read()
    return contents


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _images(place: Place, name: str, content: bytes, classes: int) -> Images:
    file = f"{place.path}: {name}" if place.path.is_file() else str(place.path / name)
    if place.form.before is None:
        pixels, labels = _from_pickle(file, content, place.form.labels)
    else:
        pixels, labels = _from_records(file, content, place.form.before)
    if labels.shape != (len(pixels),):
        raise ValueError(f"{file}: {len(pixels)} images but labels of shape {labels.shape}")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{file}: needs labels 0 to {classes - 1}, and at least one")
    x = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Images(torch.from_numpy(np.array(x, order="C")), torch.from_numpy(labels))


def _from_records(file: str, content: bytes, before: int) -> tuple[np.ndarray, np.ndarray]:
    if len(content) % (before + PIXELS):
        raise ValueError(
            f"{file}: {len(content)} bytes are no whole number of records of {before + PIXELS}; truncated?"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, before + PIXELS)
    return records[:, before:], records[:, before - 1].astype(np.int64)


def _from_pickle(file: str, content: bytes, key: str) -> tuple[np.ndarray, np.ndarray]:
    record = unpickle(content, file)
    pixels, labels = _entry(record, "data", file), _entry(record, key, file)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        received = (
            f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        )
        raise ValueError(f"{file}: data must be uint8 of shape (N, {PIXELS}), got {received}")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise ValueError(f"{file}: {key} must be a list of integers")
    return pixels, np.array(labels, np.int64)


def _class_names(place: Place, content: bytes) -> tuple[str, ...]:
    file = str(place.path / place.form.meta)
    if place.form.before is not None:
        return tuple(content.decode("latin1").split())
    names = _entry(unpickle(content, file), place.form.names, file)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise ValueError(f"{file}: {place.form.names} must be a list of names")
    return tuple(name.decode("latin1") if isinstance(name, bytes) else name for name in names)


def _entry(record: object, key: str, file: str) -> Any:
    # Keys are bytes in the published files and text in those that Python 3 has written.
    entries = record if isinstance(record, dict) else {}
    for candidate in (key.encode(), key):
        if candidate in entries:
            return entries[candidate]
    raise ValueError(f"{file}: no entry {key!r}")
