"""FER-2013: faces of seven expressions, 48x48, grey.

Goodfellow et al.: Challenges in Representation Learning: A report on three machine learning contests, 2013.

PrivateTest is the test split and PublicTest the validation split, so that nothing is held out of the 28,709
training images. The images are seen in three equal channels and, unless a run says otherwise, at 32x32, as
Self-Guidance (Zheng and Peng) has them; every size is made once by averaging over areas.
"""

from __future__ import annotations

import csv
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TextIO

import numpy as np
import torch

from ...config.text import shown
from ..averaged import averaged, require_smaller
from ..dataset import Dataset, Images, channel_statistics
from ..listing import Found, below, classes_of, parts_of
from ..wanted import Wanted
from . import Whereabouts
from .listed import Pairs, counted, find, from_lists, look, missing, require_classes

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""In the order of the CSV's numbers."""
USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""Word of the CSV, and beginning of a file's name in the folders -> split."""
PUBLISHED = {"train": 28709, "val": 3589, "test": 3589}
FOLDER = "fer2013"
TABLES = (
    *("fer2013.csv", "fer2013/fer2013.csv", "icml_face_data.csv", "fer2013/icml_face_data.csv"),
    "fer2013.tar.gz",
)
"""The last is the archive of the first, which is not unpacked."""
STORED = (48, 48)
SEEN = (32, 32)


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the CSV where there is one, else from the class folders.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: a damaged row or file, a folder of no class, a split without images, or an option of
            pictures in files with the CSV.
    """
    table, folder = _table(root), _folder(root)
    require_smaller("fer2013", STORED, wanted.size)
    if table is not None:
        wanted.refuse_for_pictures("fer2013's CSV")
        return averaged(_from_table(table), wanted.size or SEEN)
    if folder is None:
        raise missing("fer2013", root)
    return _from_folder(folder, wanted)


def is_in(folder: Path) -> bool:
    """Whether a folder holds the CSV, or a folder fer2013; class folders of any other are a user's."""
    return (_table(folder) or _folder(folder)) not in (None, folder)


def whereabouts(root: Path) -> Whereabouts:
    """Where :func:`load` would read it."""
    table = _table(root)
    return look("fer2013", table or _folder(root), () if table else ("train", "test"))


def _table(root: Path) -> Path | None:
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def _folder(root: Path) -> Path | None:
    # A folder of another name may be a user's own, of the same seven expressions.
    return find(root, [FOLDER], lambda path: path.name.lower() == FOLDER and (path / "train").is_dir())


# ---------------------------------------------------------------- the CSV


def _from_table(table: Path) -> Dataset:
    counts = dict.fromkeys(PUBLISHED, 0)
    kept: dict[str, list[tuple[int, bytes]]] = {"train": [], "val": []}
    for part, label, pixels in _rows(table, parse=("train", "val")):
        counts[part] += 1
        if part in kept:
            kept[part].append((label, pixels))
    require_classes(f"fer2013 in {shown(table)}", CLASSES, [label for label, _ in kept["train"]])
    train = _images(kept["train"])
    mean, std = channel_statistics(train.x)
    return Dataset(
        "fer2013",
        CLASSES,
        train,
        _images(kept["val"]) if kept["val"] else None,
        partial(_test, table) if counts["test"] else None,
        mean,
        std,
        crop=6,
        flip=True,
        notes=counted({part: number for part, number in counts.items() if number}, PUBLISHED),
    )


def _test(table: Path) -> Images:
    rows = _rows(table, parse=("test",))
    return _images([(label, pixels) for part, label, pixels in rows if part == "test"])


def _images(rows: list[tuple[int, bytes]]) -> Images:
    grey = np.frombuffer(b"".join(pixels for _, pixels in rows), np.uint8).reshape(-1, *STORED, 1)
    return Images(torch.from_numpy(np.repeat(grey, 3, axis=3)), torch.tensor([label for label, _ in rows]))


def _rows(table: Path, parse: tuple[str, ...]) -> Iterator[tuple[str, int, bytes]]:
    """Split, label and pixels of each row; of the other splits the pixels are left unread.

    Raises:
        ValueError: a column is missing, or a row is damaged; the message has its line.
    """
    with _opened(table) as stream:
        reader = csv.reader(stream)
        try:
            columns = [name.strip().lower() for name in next(reader, [])]
            lacking = [name for name in ("emotion", "pixels", "usage") if name not in columns]
            if lacking:
                raise ValueError(f"it has no column {', '.join(lacking)}; its first line is {columns}")
            places = [columns.index(name) for name in ("emotion", "pixels", "usage")]
            for row in filter(None, reader):
                yield _row(row, places, parse)
        except (EOFError, zlib.error, OSError) as error:
            raise ValueError(f"{shown(table)} is damaged or truncated: {error}") from error
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{shown(table)}, line {max(1, reader.line_num)}: {error}") from error


@contextmanager
def _opened(table: Path) -> Iterator[TextIO]:
    if table.suffix == ".csv":
        with table.open(newline="", encoding="utf-8", errors="replace") as stream:
            yield stream
        return
    try:
        with tarfile.open(table, "r:gz") as tar:
            member = next((each for each in tar if PurePosixPath(each.name).name == TABLES[0]), None)
            content = None if member is None else tar.extractfile(member)
            if content is None:
                raise ValueError(f"{shown(table)} does not hold {TABLES[0]}")
            yield io.TextIOWrapper(content, newline="", encoding="utf-8", errors="replace")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(f"{shown(table)} is damaged or truncated: {error}") from error


def _row(row: list[str], places: list[int], parse: tuple[str, ...]) -> tuple[str, int, bytes]:
    if len(row) <= max(places):
        raise ValueError(f"{len(row)} columns, cut short?")
    emotion, text, usage = (row[place].strip() for place in places)
    if usage not in USAGES:
        raise ValueError(f"Usage {usage!r} is none of {', '.join(USAGES)}")
    if not emotion.isdecimal() or int(emotion) >= len(CLASSES):
        raise ValueError(f"emotion must be 0 to {len(CLASSES) - 1}, got {emotion!r}")
    part = USAGES[usage]
    return part, int(emotion), _pixels(text) if part in parse else b""


def _pixels(text: str) -> bytes:
    try:
        pixels = bytes(map(int, text.split()))
    except ValueError as error:
        raise ValueError("pixels must be whole numbers of 0 to 255") from error
    if len(pixels) != STORED[0] * STORED[1]:
        raise ValueError(f"pixels must be {STORED[0] * STORED[1]:,} numbers, got {len(pixels):,}")
    return pixels


# ---------------------------------------------------------------- folders


def _from_folder(root: Path, wanted: Wanted) -> Dataset:
    beside = Found(root)
    folders = parts_of(root, beside)
    if "test" not in folders and "val" not in folders:
        raise ValueError(f"{shown(root)} has train, but neither test nor val")
    found = [beside]
    splits: dict[str, list[tuple[Path, int]]] = {part: [] for part in PUBLISHED}
    for part, folder in folders.items():
        pairs, each = _faces(folder, root)
        found.append(each)
        for path, label in pairs:
            splits[_part_of(path, part, folders)].append((path, label))
    return from_lists(
        "fer2013",
        CLASSES,
        splits,
        wanted,
        size=SEEN,
        stored=STORED,
        published=PUBLISHED,
        notes=[note for each in found for note in each.note(f"in {shown(root.name)}")],
        broken=[link for each in found for link in each.broken],
    )


def _faces(folder: Path, root: Path) -> tuple[Pairs, Found]:
    found = Found(root)
    pairs: list[tuple[Path, int]] = []
    for name in classes_of(folder, found):
        if name.lower() not in CLASSES:
            raise ValueError(f"{shown(folder)} has a folder {name!r}; the classes are {', '.join(CLASSES)}")
        below(folder / name, folder, found)
        pairs += [(path, CLASSES.index(name.lower())) for path in found.paths[len(pairs) :]]
    return pairs, found


def _part_of(path: Path, part: str, folders: dict[str, Path]) -> str:
    """The split of a file: that of its folder, but the folder test of two holds both tests, by name."""
    named = next((USAGES[usage] for usage in USAGES if path.name.startswith(f"{usage}_")), part)
    if named != part and not (part == "test" and named == "val" and "val" not in folders):
        raise ValueError(
            f"{shown(path)} is of the {named} split by its name, and lies in {folders[part].name}; move it "
            "to where it belongs"
        )
    return named
