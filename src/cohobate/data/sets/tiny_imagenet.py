"""Tiny-ImageNet: 200 classes of ImageNet, 64x64.

Le and Yang: Tiny ImageNet Visual Recognition Challenge, 2015.

The labels of its test split are not published: its val is the test split here, as in the papers, and a run
holds its validation images out of the training images. The images are seen at 32x32 unless a run says
otherwise, as FRSKD (Ji et al., 2021) has them; ResKD (Li et al., 2021) has 224x224. The classes are in the
order of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from ...config.sizes import Size, shown_size
from ...config.text import shown
from ..averaged import averaging
from ..dataset import Dataset, channel_statistics
from ..listing import Found
from ..pictures import SMALL
from ..wanted import Wanted
from . import SETS, Whereabouts
from .listed import Pairs, by_class, counted, find, from_lists, inside, look, missing, require_classes
from .packed import Kept, decoded, texts
from .wordnet import ids_in, readable

CLASSES = SETS["tiny_imagenet"].classes
PUBLISHED = {"train": 100000, "test": 10000}
FOLDERS = ("tiny-imagenet-200", "tiny-imagenet", "tiny_imagenet", "TinyImageNet")
ARCHIVE = "tiny-imagenet-200.zip"
ANNOTATIONS = "val/val_annotations.txt"
IDS = "wnids.txt"
WORDS = "words.txt"
STORED = (64, 64)
SEEN = (32, 32)


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the folder where there is one, else from the archive, which is not unpacked.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: a damaged file or archive, a class that is missing, an annotation of no class, or an
            option that needs the pictures in files with the archive.
    """
    place = _place(root)
    if place is None:
        raise missing("tiny_imagenet", root)
    if place.is_dir():
        return _from_folder(place, wanted)
    wanted.refuse_for_pictures(place.name, archive=True)
    size = wanted.size or SEEN
    if max(size) > SMALL:
        raise ValueError(
            f"at {shown_size(size)} pixels tiny_imagenet is read from its folder: unpack {shown(place)}, or "
            f"give an image_size of at most {SMALL}"
        )
    return _from_archive(place, size, wanted.reading.channels)


def is_in(folder: Path) -> bool:
    """Whether a folder holds the archive, or a folder of its name; any other is a user's."""
    return _place(folder) not in (None, folder)


def whereabouts(root: Path) -> Whereabouts:
    """Where :func:`load` would read it."""
    return look("tiny_imagenet", _place(root), ("train", "val"))


def _place(root: Path) -> Path | None:
    folder = find(root, FOLDERS, lambda path: bool(ids_in(path / "train")) and (path / "val").is_dir())
    if folder not in (None, root):
        return folder
    return root / ARCHIVE if (root / ARCHIVE).is_file() else folder


def _require_all(ids: list[str], place: Path) -> None:
    if len(ids) != CLASSES:
        raise ValueError(
            f"{shown(place)} has {len(ids)} classes, and tiny_imagenet has {CLASSES}; a part of it is a "
            "folder of images and given by its path"
        )


# ---------------------------------------------------------------- folder


def _from_folder(place: Path, wanted: Wanted) -> Dataset:
    ids = ids_in(place / "train")
    _require_all(ids, place)
    train, found = by_class(place / "train", ids, place, below_them="images")
    test, in_val = _val(place, ids)
    words = place / WORDS
    lines = words.read_text("utf-8", "replace").splitlines() if words.is_file() else ()
    return from_lists(
        "tiny_imagenet",
        readable(ids, lines),
        {"train": train, "test": test},
        wanted,
        size=SEEN,
        stored=STORED,
        published=PUBLISHED,
        notes=[*found.note("in train"), *in_val.note("in val")],
        broken=[*found.broken, *in_val.broken],
    )


def _val(place: Path, ids: list[str]) -> tuple[Pairs, Found]:
    """By its annotations, or by class folders into which it has been sorted; and what else was found."""
    if ids_in(place / "val"):
        return by_class(place / "val", ids, place, below_them="images", beside=("images",))
    file = place / ANNOTATIONS
    if not file.is_file():
        raise ValueError(f"{shown(place / 'val')} has neither val_annotations.txt nor folders of the classes")
    labels = _labels(file.read_text("utf-8", "replace"), ids, str(file))
    return list(zip(inside(place / "val" / "images", labels), labels.values(), strict=True)), Found(place)


def _labels(text: str, ids: list[str], file: str) -> dict[str, int]:
    """Name of a picture -> label, in the order of labels and names."""
    at = {each: label for label, each in enumerate(ids)}
    labels = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, *rest = line.split("\t") if "\t" in line else line.split()
        if not rest or rest[0] not in at:
            raise ValueError(f"{shown(file)}, line {number}: no class of train, got {shown(line[:80])!r}")
        labels[name] = at[rest[0]]
    return dict(sorted(labels.items(), key=lambda item: (item[1], item[0])))


# ---------------------------------------------------------------- archive


def _from_archive(archive: Path, size: Size, channels: int) -> Dataset:
    held = texts(archive, [IDS, WORDS, ANNOTATIONS], below=1)
    for name in (IDS, ANNOTATIONS):
        if name not in held:
            raise ValueError(f"{shown(archive)} does not hold {name}")
    ids = sorted(held[IDS].split())
    _require_all(ids, archive)
    labels = _labels(held[ANNOTATIONS], ids, f"{archive}: {ANNOTATIONS}")
    place_of = partial(_kept, labels, {each: label for label, each in enumerate(ids)})
    read = partial(decoded, archive, place_of, stored=STORED, size=size, channels=channels)
    images, counts = read(parts=("train",))
    classes = readable(ids, held.get(WORDS, "").splitlines())
    require_classes(f"tiny_imagenet in {archive.name}", classes, images["train"].y.tolist())
    mean, std = channel_statistics(images["train"].x)
    return Dataset(
        "tiny_imagenet",
        classes,
        images["train"],
        None,
        (lambda: read(parts=("test",))[0]["test"]) if "test" in counts else None,
        mean,
        std,
        crop=max(1, min(size) // 8),
        flip=True,
        notes=(*counted(counts, PUBLISHED), *averaging(STORED, size)),
        averaged_from=None if size == STORED else STORED,
    )


def _kept(labels: Mapping[str, int], at: Mapping[str, int], name: PurePosixPath) -> Kept | None:
    """Where ``tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG`` belongs."""
    parts = name.parts[1:]
    if len(parts) == 4 and parts[0] == "train" and parts[1] in at and parts[2] == "images":
        return Kept("train", at[parts[1]])
    if len(parts) == 3 and parts[:2] == ("val", "images") and parts[2] in labels:
        return Kept("test", labels[parts[2]])
    return None
