"""Stanford-40 Actions: people in 40 activities.

Yao et al.: Human Action Recognition by Learning Bases of Action Attributes and Parts, 2011. Two lists for
each action name files of one folder.
"""

from __future__ import annotations

from pathlib import Path

from ...config.text import shown
from ..dataset import Dataset
from ..wanted import Wanted
from . import SETS
from .listed import Layout, from_lists, inside
from .official import absent, lines, refuse_twice

CLASSES = SETS["stanford40"].classes
PUBLISHED = {"train": 4000, "test": 5532}
ARCHIVES = ("Stanford40_ImageSplits.zip", "Stanford40_JPEGImages.zip", "Stanford40.zip")
IMAGES, LISTS = "JPEGImages", "ImageSplits"
SEEN = (224, 224)
LAYOUT = Layout(
    "stanford40",
    ("Stanford40", "stanford40", "stanford_40", "Stanford-40"),
    holds=(IMAGES, LISTS),
    needed=(IMAGES, LISTS),
)
is_in, whereabouts = LAYOUT.is_in, LAYOUT.whereabouts


def load(root: Path, wanted: Wanted) -> Dataset:
    """From ``ImageSplits/<action>_train.txt`` and ``_test.txt``, which name files of ``JPEGImages``.

    Raises:
        FileNotFoundError: it is not there, or an action has no test list.
        ValueError: another number of actions than 40, or a file in two lists.
    """
    place = LAYOUT.place(root)
    if place is None:
        raise absent("stanford40", root, ARCHIVES)
    actions = sorted(file.name.removesuffix("_train.txt") for file in (place / LISTS).glob("*_train.txt"))
    if len(actions) != CLASSES:
        raise ValueError(
            f"{shown(place / LISTS)} has lists of {len(actions)} actions (<action>_train.txt), and {CLASSES} "
            "are expected"
        )
    splits: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for label, action in enumerate(actions):
        for part, pairs in splits.items():
            names = [line[0] for line in lines(place / LISTS / f"{action}_{part}.txt", 1)]
            pairs += [(path, label) for path in inside(place / IMAGES, names)]
    refuse_twice("stanford40", splits)
    classes = [action.replace("_", " ") for action in actions]
    return from_lists("stanford40", classes, splits, wanted, size=SEEN, published=PUBLISHED)
