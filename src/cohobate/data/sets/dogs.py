"""Stanford Dogs: 120 breeds, pictures of ImageNet.

Khosla et al.: Novel Dataset for Fine-Grained Image Categorization, 2011. Two lists in files of MATLAB have
the name of each image, ``<id of WordNet>-<breed>/<file>``, and its label, 1 to 120.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...config.text import as_text, first_line, shown
from ..dataset import Dataset
from ..wanted import Wanted
from . import SETS
from .listed import Layout, from_lists, inside
from .official import absent, refuse_twice

CLASSES = SETS["dogs"].classes
PUBLISHED = {"train": 12000, "test": 8580}
ARCHIVES = ("images.tar", "lists.tar")
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}
SEEN = (224, 224)
LAYOUT = Layout(
    "dogs",
    ("StanfordDogs", "stanford_dogs", "Stanford_Dogs", "stanford-dogs", "dogs"),
    holds=(LISTS["train"], "Images"),
    needed=(*LISTS.values(), "Images"),
    beside="lists",
)
is_in, whereabouts = LAYOUT.is_in, LAYOUT.whereabouts

Row = tuple[str, int]
"""Name and label, from 0."""


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the lists and the folder ``Images``.

    Raises:
        FileNotFoundError: it is not there, or one of the lists is not.
        ValueError: a list that is no such file of MATLAB, or labels and folders that do not agree.
    """
    place = LAYOUT.place(root)
    if place is None:
        raise absent("dogs", root, ARCHIVES)
    rows = {part: _rows(LAYOUT.at(place, file)) for part, file in LISTS.items()}
    classes = _classes(rows)
    splits = {}
    for part, each in rows.items():
        files = inside(place / "Images", [name for name, _ in each])
        splits[part] = [(path, label) for path, (_, label) in zip(files, each, strict=True)]
    refuse_twice("dogs", splits)
    return from_lists("dogs", classes, splits, wanted, size=SEEN, published=PUBLISHED)


def _rows(file: Path) -> list[Row]:
    from scipy.io import loadmat

    if not file.is_file():
        raise FileNotFoundError(f"{shown(file)} is not there: it is in lists.tar of the data set's page")
    try:
        content = loadmat(file, variable_names=["file_list", "labels"])
    # A damaged file raises all kinds of errors, and one of MATLAB 7.3 NotImplementedError.
    except Exception as error:
        raise ValueError(
            f"{shown(file)} is no list of dogs in MATLAB's format: {first_line(error)}"
        ) from error
    names, labels = (_column(content, key, file) for key in ("file_list", "labels"))
    if len(names) != len(labels):
        raise ValueError(f"{shown(file)} has {len(names)} names and {len(labels)} labels")
    return [(_name(name, file), _label(label, file)) for name, label in zip(names, labels, strict=True)]


def _column(content: dict[str, Any], key: str, file: Path) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, np.ndarray) or value.ndim != 2 or min(value.shape) != 1:
        shape = value.shape if isinstance(value, np.ndarray) else "nothing"
        raise ValueError(f"{shown(file)}: {key} must be a column, (N, 1), got {shape}")
    return list(value.ravel())


def _name(value: Any, file: Path) -> str:
    """Of a cell: an array of one text."""
    inner = value.ravel()[0] if isinstance(value, np.ndarray) and value.size == 1 else value
    if not isinstance(inner, str) or "/" not in inner:
        raise ValueError(f"{shown(file)}: a name must be <breed>/<file>, got {as_text(str(inner))!r}")
    return str(inner)


def _label(value: Any, file: Path) -> int:
    if not isinstance(value, np.number) or not 1 <= value <= CLASSES or value != int(value):
        raise ValueError(f"{shown(file)}: labels must be 1 to {CLASSES}, got {value}")
    return int(value) - 1


def _classes(rows: dict[str, list[Row]]) -> list[str]:
    """``n02085620-Chihuahua`` -> Chihuahua, in the order of the labels."""
    folders: dict[int, str] = {}
    for part, each in rows.items():
        for name, label in each:
            folder = name.partition("/")[0]
            if folders.setdefault(label, folder) != folder:
                raise ValueError(
                    f"the lists of dogs give label {label + 1} to {folders[label]} and, in {part}, to "
                    f"{folder}"
                )
    if len(folders) != CLASSES:
        raise ValueError(f"the lists of dogs have {len(folders)} breeds, and {CLASSES} are expected")
    ordered = [folders[label] for label in range(CLASSES)]
    return [folder.partition("-")[2].replace("_", " ") or folder for folder in ordered]
