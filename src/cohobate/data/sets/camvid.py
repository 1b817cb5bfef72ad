"""CamVid in the form of 11 classes: frames of a drive in 480 x 360 pixels, each with a mask of class numbers.

G. J. Brostow, J. Fauqueur, R. Cipolla: Semantic Object Classes in Video, Pattern Recognition Letters, 2009.
The masks of 11 classes, and the splits, are those of V. Badrinarayanan, A. Kendall, R. Cipolla: SegNet, 2017.
"""

from __future__ import annotations

from pathlib import Path

from ...config.text import shown
from ...config.words import count
from ..dataset import Dataset
from ..listing import Found, entries
from ..scene_sets import Pairs, scene_set
from ..scenes import VOID, Coding
from ..wanted import Wanted
from . import Whereabouts
from .listed import counted, find, look, missing

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian"),
    "bicyclist",
)
CODING = Coding({number: number for number in range(len(CLASSES))} | {len(CLASSES): VOID})
"""11 is unlabelled."""
SIZE = (360, 480)
IMAGES = {"train": 367, "val": 101, "test": 233}
"""Split -> images of the published set."""
FOLDERS = ("camvid", "CamVid")
NAMED = 5
"""Files that a message names."""


def load(root: Path, wanted: Wanted) -> Dataset:
    """The splits that are there; train must be.

    Raises:
        FileNotFoundError: no such folder, or no training images.
        ValueError: an image without a mask or the other way, a link that leaves the folder, or a file that
            cannot be used.
    """
    folder = _folder(root)
    if folder is None:
        raise missing("camvid", root)
    notes: list[str] = []
    splits = {part: _pairs(folder, part, notes) for part in IMAGES if _has(folder, part)}
    notes += counted({part: len(pairs) for part, pairs in splits.items()}, IMAGES)
    return scene_set("camvid", CLASSES, CODING, splits, wanted, SIZE, notes)


def is_in(folder: Path) -> bool:
    """Whether a folder holds a folder of this name, or has it; a user's own may look the same inside."""
    place = _folder(folder)
    return place is not None and (place != folder or folder.absolute().name in FOLDERS)


def whereabouts(root: Path) -> Whereabouts:
    """Its folder; what is in the folders of the splits is not looked at."""
    return look("camvid", _folder(root), [name for part in IMAGES for name in (part, f"{part}annot")])


def _folder(root: Path) -> Path | None:
    return find(root, FOLDERS, lambda folder: _has(folder, "train"))


def _has(folder: Path, part: str) -> bool:
    return (folder / part).is_dir() and (folder / f"{part}annot").is_dir()


def _pairs(folder: Path, part: str, notes: list[str]) -> Pairs:
    images, masks = (_pictures(folder, name, notes) for name in (part, f"{part}annot"))
    if not images:
        raise FileNotFoundError(f"{shown(folder / part)} has no images (.png)")
    for one, other, where, what in ((images, masks, f"{part}annot", "mask"), (masks, images, part, "image")):
        alone = sorted(one.keys() - other.keys())
        if alone:
            named = ", ".join(map(shown, alone[:NAMED])) + (" ..." if len(alone) > NAMED else "")
            raise ValueError(
                f"{count(len(alone), 'file')} of {shown(folder)} with no {what} in {where}/: {named}; unpack "
                "the data set again"
            )
    return [(images[name], masks[name]) for name in sorted(images)]


def _pictures(folder: Path, name: str, notes: list[str]) -> dict[str, Path]:
    """The files of one of its folders that are read, by their names."""
    found = Found(folder)
    files: dict[str, Path] = {}
    for entry in entries(folder / name, found):
        path = Path(entry.path)
        if entry.is_file() and path.suffix == ".png":
            files[entry.name] = path
        else:
            found.leave(path, folder / name, "folder" if entry.is_dir() else None)
    if found.broken:
        path, why = found.broken[0]
        raise ValueError(f"{shown(path)} cannot be read: {why}; mend or remove it")
    notes += found.note(f"in {name}")
    return files
