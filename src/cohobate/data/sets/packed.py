"""Small pictures in an archive as it is downloaded: decoded from it, one after the other, never unpacked."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch

from ...config.sizes import Size, shown_size
from ...config.text import shown
from ..areas import area_means
from ..dataset import Images
from ..pictures import Reading, decode_bytes, size_in

LARGEST = 16 * 2**20
"""Bytes of a file in an archive; a small picture has a few thousand."""


class Kept(NamedTuple):
    """Where a picture belongs: its split, and its label there."""

    part: str
    label: int


class Row(NamedTuple):
    """A decoded picture; rows are sorted by label, then name."""

    label: int
    name: str
    pixels: bytes


def members(archive: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    """Name of each file in a .zip, .tar or .tar.gz, and what reads it; links and special files are left out.

    So are hidden files, as in folders: macOS puts ``._1.png`` beside ``1.png``.

    Raises:
        ValueError: the archive is damaged, or a file that is read is too large for what it should be.
    """
    try:
        for name, read in _zipped(archive) if zipfile.is_zipfile(archive) else _tarred(archive):
            if not any(part.startswith(".") for part in name.parts):
                yield name, read
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{shown(archive)} is damaged or truncated: {error}") from error


def _tarred(archive: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    with tarfile.open(archive, "r:*") as tar:
        while (member := tar.next()) is not None:
            if member.isreg():
                yield PurePosixPath(member.name), partial(_read_tarred, archive, tar, member)
            # Else every header that was met is kept: hundreds of megabytes for 270,000 files.
            tar.members = []  # type: ignore[attr-defined]


def _read_tarred(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    _require_small(archive, member.name, member.size)
    stream = tar.extractfile(member)
    return b"" if stream is None else stream.read()


def _zipped(archive: Path) -> Iterator[tuple[PurePosixPath, Callable[[], bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if not info.is_dir():
                yield PurePosixPath(info.filename), partial(_read_zipped, archive, opened, info)


def _read_zipped(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    _require_small(archive, info.filename, info.file_size)
    return opened.read(info)


def _require_small(archive: Path, name: str, size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"{shown(archive)}: {shown(name)} has {size:,} bytes, too many for a file of it")


def texts(archive: Path, names: Collection[str], below: int) -> dict[str, str]:
    """The text files of these names, as far as they are there.

    Args:
        archive: that holds them.
        names: without the folders that all files lie in.
        below: how many such folders there are.

    Raises:
        ValueError: the archive is damaged.
    """
    named = ((PurePosixPath(*name.parts[below:]).as_posix(), read) for name, read in members(archive))
    return {name: read().decode("utf-8", "replace") for name, read in named if name in names}


def decoded(
    archive: Path,
    place_of: Callable[[PurePosixPath], Kept | None],
    parts: tuple[str, ...],
    stored: Size,
    size: Size | None = None,
    channels: int = 3,
) -> tuple[dict[str, Images], dict[str, int]]:
    """The pictures of some splits, in the order of their labels and names, and how many each split has.

    The order is that in which the unpacked folder is read, so that both give the same images.

    Args:
        archive: of pictures.
        place_of: name of a file -> where it belongs; None: it is no picture of the data set.
        parts: splits to decode; of the others the pictures are counted.
        stored: (height, width) that every picture has.
        size: (height, width) that they are averaged to; None: they stay as they are.
        channels: 3 (RGB) or 1 (grey).

    Raises:
        ValueError: a damaged archive or picture, or one of another size.
    """
    rows: dict[str, list[Row]] = {part: [] for part in parts}
    counts: dict[str, int] = {}
    for name, read in members(archive):
        place = place_of(name)
        if place is None:
            continue
        counts[place.part] = counts.get(place.part, 0) + 1
        if place.part in rows:
            pixels = _pixels(read(), f"{archive}: {name}", stored, size or stored, channels)
            rows[place.part].append(Row(place.label, str(name), pixels))
    return {part: _images(each, size or stored, channels) for part, each in rows.items()}, counts


def _images(rows: list[Row], size: Size, channels: int) -> Images:
    rows.sort()
    x = np.frombuffer(bytearray().join(row.pixels for row in rows), np.uint8)
    labels = torch.tensor([row.label for row in rows], dtype=torch.int64)
    return Images(torch.from_numpy(x.reshape(-1, *size, channels)), labels)


def _pixels(content: bytes, where: str, stored: Size, size: Size, channels: int) -> bytes:
    # Of a few thousand bytes a picture of gigabytes can be made: its header is asked first.
    has = size_in(content, where)
    if has != stored:
        raise ValueError(
            f"{shown(where)} is {shown_size(has)} pixels, and all should be {shown_size(stored)}"
        )
    picture = decode_bytes(content, where, Reading(channels=channels))
    x = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(1, *stored, channels)
    return area_means(x, size).numpy().tobytes()
