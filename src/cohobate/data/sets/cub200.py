"""CUB-200-2011: 200 kinds of birds.

Wah et al.: The Caltech-UCSD Birds-200-2011 Dataset, 2011. Four lists with one numbering of the images: their
names, classes and splits, and the names of the classes.
"""

from __future__ import annotations

from pathlib import Path

from ...config.text import shown
from ..dataset import Dataset
from ..wanted import Wanted
from . import SETS
from .listed import Layout, from_lists, inside
from .official import absent, lines, number, refuse_twice

CLASSES = SETS["cub200"].classes
PUBLISHED = {"train": 5994, "test": 5794}
ARCHIVES = ("CUB_200_2011.tgz", "CUB_200_2011.tar.gz")
NAMES, LABELS, SPLIT, WORDS = "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"
SEEN = (224, 224)
LAYOUT = Layout(
    "cub200",
    ("CUB_200_2011", "cub200", "CUB-200-2011", "cub200/CUB_200_2011", "CUB_200_2011/CUB_200_2011"),
    holds=(NAMES, SPLIT),
    needed=(NAMES, LABELS, SPLIT, WORDS, "images"),
)
is_in, whereabouts = LAYOUT.is_in, LAYOUT.whereabouts


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the lists and the folder ``images``.

    Raises:
        FileNotFoundError: it is not there, or one of the lists is not.
        ValueError: a damaged line, lists of different images, or a class out of range.
    """
    place = LAYOUT.place(root)
    if place is None:
        raise absent("cub200", root, ARCHIVES)
    classes = _classes(place / WORDS)
    names = _by_number(place / NAMES)
    labels, split = (_by_number(place / file, names) for file in (LABELS, SPLIT))
    files = inside(place / "images", names.values())
    splits: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for key, path in zip(names, files, strict=True):
        label = number(labels[key], 1, len(classes), f"the class of image {key}", place / LABELS)
        is_train = number(split[key], 0, 1, f"the split of image {key}", place / SPLIT)
        splits["train" if is_train else "test"].append((path, label - 1))
    refuse_twice("cub200", splits)
    return from_lists("cub200", classes, splits, wanted, size=SEEN, published=PUBLISHED)


def _by_number(file: Path, expected: dict[str, str] | None = None) -> dict[str, str]:
    """Number of an image -> what a list says of it."""
    rows = lines(file, 2)
    found = {row[0]: row[1] for row in rows}
    if len(found) != len(rows):
        keys = [key for key, _ in rows]
        raise ValueError(f"{shown(file)} has {next(key for key in keys if keys.count(key) > 1)!r} twice")
    if expected is not None and found.keys() != expected.keys():
        other = min(found.keys() ^ expected.keys())
        raise ValueError(
            f"{shown(file)} and {NAMES} number different images: {other!r} is in one of them only"
        )
    return found


def _classes(file: Path) -> list[str]:
    """``12 012.Yellow_headed_Blackbird`` -> Yellow headed Blackbird, in the order of the numbers."""
    words = _by_number(file)
    if set(words) != {str(key) for key in range(1, CLASSES + 1)}:
        raise ValueError(f"{shown(file)} has {len(words)} classes, and 1 to {CLASSES} are expected")
    return [
        words[str(key)].partition(".")[2].replace("_", " ") or words[str(key)]
        for key in range(1, CLASSES + 1)
    ]
