"""ImageNet of the challenge of 2012 (ILSVRC): 1,000 classes, large pictures.

Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge, 2015.

The labels of its test split are not published: its val is the test split here, as in the papers, and a run
holds its validation images out of the training images. The classes are in the order of their ids.
"""

from __future__ import annotations

import csv
from pathlib import Path

from ...config.text import shown
from ..dataset import Dataset
from ..listing import Found
from ..wanted import Wanted
from . import SETS, Whereabouts
from .listed import Pairs, by_class, find, from_lists, inside, look, missing
from .wordnet import ids_in, readable

CLASSES = SETS["imagenet"].classes
PUBLISHED = {"train": 1281167, "test": 50000}
FOLDERS = (
    *("imagenet", "ImageNet", "ILSVRC2012", "imagenet-1k"),
    *("ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC"),
)
NAMES = ("LOC_synset_mapping.txt", "synset_words.txt")
SOLUTION = "LOC_val_solution.csv"
SEEN = (224, 224)


def load(root: Path, wanted: Wanted) -> Dataset:
    """From folders by WordNet id; ``val`` may be flat where Kaggle's list of its labels is there.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: another number of classes, a class without images, or a flat ``val`` without that list.
    """
    place = _place(root)
    if place is None:
        raise missing("imagenet", root)
    ids = ids_in(place / "train")
    if len(ids) != CLASSES:
        raise ValueError(
            f"{shown(place / 'train')} has {len(ids):,} classes, and imagenet has {CLASSES:,}; a part of it "
            f"is a folder of images and given by its path: --data {shown(place)}"
        )
    train, found = by_class(place / "train", ids, place)
    test, in_val = _val(place, root, ids)
    names = _beside(place, root, NAMES)
    return from_lists(
        "imagenet",
        readable(ids, names.read_text("utf-8", "replace").splitlines() if names else ()),
        {"train": train, "test": test},
        wanted,
        size=SEEN,
        published=PUBLISHED,
        notes=[*found.note("in train"), *in_val.note("in val")],
        broken=[*found.broken, *in_val.broken],
    )


def is_in(folder: Path) -> bool:
    """Whether a folder holds one of its name; any other is a user's."""
    return _place(folder) not in (None, folder)


def whereabouts(root: Path) -> Whereabouts:
    """Where :func:`load` would read it."""
    return look("imagenet", _place(root), ("train", "val"))


def _place(root: Path) -> Path | None:
    return find(root, FOLDERS, lambda path: bool(ids_in(path / "train")))


def _beside(place: Path, root: Path, names: tuple[str, ...]) -> Path | None:
    """A file in the place or in a folder above it, up to the root."""
    for folder in (place, *place.parents):
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is not None or folder == root:
            return file
    return None


def _val(place: Path, root: Path, ids: list[str]) -> tuple[Pairs, Found]:
    folder = place / "val"
    if not folder.is_dir():
        raise ValueError(f"{shown(place)} has no folder val, which is the test split")
    if ids_in(folder):
        return by_class(folder, ids, place)
    solution = _beside(place, root, (SOLUTION,))
    if solution is None:
        raise ValueError(
            f"{shown(folder)} has no folders of the classes: move each picture into val/<id of its class>/, "
            f"or put Kaggle's {SOLUTION} into {shown(place)}"
        )
    at = {each: label for label, each in enumerate(ids)}
    labels = _solution(solution, at)
    return list(zip(inside(folder, labels), labels.values(), strict=True)), Found(place)


def _solution(file: Path, at: dict[str, int]) -> dict[str, int]:
    """Name of a picture -> label: in each row the name without its ending, then the id with boxes."""
    labels = {}
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            name, answer = row.get("ImageId"), (row.get("PredictionString") or "").split()
            if not name or not answer or answer[0] not in at:
                raise ValueError(f"{shown(file)}, line {reader.line_num}: no picture with a class of train")
            labels[f"{name}.JPEG"] = at[answer[0]]
    return dict(sorted(labels.items(), key=lambda item: (item[1], item[0])))
