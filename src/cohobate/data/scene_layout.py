"""Which folders hold pictures and their masks, and what is said where one of the two is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..config.text import shown
from .listing import Found, entries
from .scene_classes import FILE

IMAGES, MASKS = "images", "masks"
OTHERS = (
    "annotation",
    "annotations",
    "ann",
    "gt",
    "ground_truth",
    "groundtruth",
    "label",
    "labels",
    "mask",
    "segmentation",
    "segmentations",
    "seg",
    "target",
    "targets",
)
"""Names that people give to folders of masks; they are named in messages, and not read."""


def pair_of(folder: Path, root: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in a folder, if it has both."""
    names = folders_in(folder, root)
    found = [[name for name in names if name.lower() == wanted] for wanted in (IMAGES, MASKS)]
    return (folder / found[0][0], folder / found[1][0]) if all(found) else None


def folders_in(folder: Path, root: Path) -> list[str]:
    """Names of the folders in a folder of ``root``, which links may not leave."""
    if not folder.is_dir():
        return []
    return [entry.name for entry in entries(folder, Found(root)) if entry.is_dir()]


def refuse_camvid(root: Path) -> None:
    """Raise a ValueError if images lie in ``train`` and masks in ``trainannot``, of whatever classes."""
    names = folders_in(root, root)
    if {"train", "trainannot"} <= set(names) and not folders_in(root / "train", root):
        raise ValueError(
            f"{shown(root)} has train and trainannot, as CamVid has: if it is CamVid, ask for it by its "
            f"name, with this folder as root; else move the pictures to train/{IMAGES} and the masks to "
            f"train/{MASKS} (val and test likewise), and say the classes in {FILE}"
        )


def refuse_half(root: Path, parts: Mapping[str, Path]) -> None:
    """Raise a ValueError if pictures lie in ``images`` and there is no ``masks``, or the other way.

    In a split they could be classes: there it is one only if nothing else is beside it but a folder that is
    named as masks often are.

    Args:
        root: a folder that has not both.
        parts: its splits.
    """
    for folder in parts.values() or [root]:
        names = folders_in(folder, root)
        have = {name.lower(): name for name in names}
        halves = [wanted for wanted in (IMAGES, MASKS) if wanted in have]
        if not halves:
            continue
        others = [have[name] for name in OTHERS if name in have] if halves[0] == IMAGES else []
        if parts and len(names) > len(others) + 1:
            continue
        raise ValueError(_half(folder, have[halves[0]], others, in_split=bool(parts)))


def _half(folder: Path, half: str, others: list[str], *, in_split: bool) -> str:
    there, lacking = (IMAGES, MASKS) if half.lower() == IMAGES else (MASKS, IMAGES)
    if others:
        mend = f"if {others[0]} has the masks, rename it to {lacking}"
    else:
        what = "masks, of the same names as the pictures," if lacking == MASKS else "pictures of the masks"
        mend = f"put the {what} into {shown(folder / lacking)}"
    classes = (
        f"give {there} another name if it is a class of images"
        if in_split
        else "images with one label each are expected in train/<class>/"
    )
    beside = f" (but {', '.join(others)})" if others else ""
    return f"{shown(folder)} has the folder {half} and no folder {lacking}{beside}: {mend}; {classes}"
