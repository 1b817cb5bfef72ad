"""MIT-67, indoor scenes of 67 kinds.

Quattoni and Torralba: Recognizing Indoor Scenes, 2009. Two lists of names, ``<class>/<file>``, beside the
folder of images.
"""

from __future__ import annotations

from pathlib import Path

from ...config.text import as_text, shown
from ..dataset import Dataset
from ..wanted import Wanted
from . import SETS
from .listed import Layout, from_lists, inside
from .official import absent, lines, refuse_twice

CLASSES = SETS["mit67"].classes
PUBLISHED = {"train": 5360, "test": 1340}
ARCHIVES = ("indoorCVPR_09.tar",)
LISTS = {"train": "TrainImages.txt", "test": "TestImages.txt"}
SEEN = (224, 224)
LAYOUT = Layout(
    "mit67",
    ("mit67", "MIT67", "MIT-67", "MIT_Indoor_67", "indoorCVPR_09"),
    holds=(LISTS["train"], "Images"),
    needed=(*LISTS.values(), "Images"),
)
is_in, whereabouts = LAYOUT.is_in, LAYOUT.whereabouts


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the lists and the folder ``Images``; the classes are those of the training list, sorted.

    Raises:
        FileNotFoundError: it is not there, or one of the lists is not.
        ValueError: a name without a class, a class that the training list does not have, or another number
            of classes than 67.
    """
    place = LAYOUT.place(root)
    if place is None:
        raise absent("mit67", root, ARCHIVES)
    named = {part: [line[0] for line in lines(place / file, 1)] for part, file in LISTS.items()}
    classes = sorted({name.partition("/")[0] for name in named["train"]})
    if len(classes) != CLASSES:
        raise ValueError(
            f"{shown(place / LISTS['train'])} has {len(classes)} classes, and {CLASSES} are expected"
        )
    splits = {}
    for part, names in named.items():
        files = inside(place / "Images", names)
        unknown = next((name for name in names if name.partition("/")[0] not in classes), None)
        if unknown is not None:
            raise ValueError(
                f"{shown(place / LISTS[part])} has {as_text(unknown)!r}, of a class that train does not have"
            )
        labels = [classes.index(name.partition("/")[0]) for name in names]
        splits[part] = list(zip(files, labels, strict=True))
    refuse_twice("mit67", splits)
    return from_lists("mit67", classes, splits, wanted, size=SEEN, published=PUBLISHED)
