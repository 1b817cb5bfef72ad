"""PASCAL VOC 2007 and 2012, segmentation: 20 classes and the background; contours are not counted (255).

M. Everingham, L. Van Gool, C. K. I. Williams, J. Winn, A. Zisserman: The PASCAL Visual Object Classes (VOC)
Challenge, IJCV 2010. FRSKD (Ji et al., 2021, section 4.2) trains on trainval of both years and tests on the
test images of 2007.

The year 2012 repeats the pictures of 2007 under names that begin with 2007_, those of its test among them.
Here a picture is counted once, and one of the test of 2007 is never trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...config.text import shown
from ...config.words import count
from ..dataset import Dataset
from ..scene_sets import Pairs, scene_set
from ..scenes import VOID, Coding
from ..wanted import Wanted
from . import Whereabouts
from .listed import counted, find, inside, look, missing

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
CODING = Coding({number: number for number in range(len(CLASSES))} | {VOID: VOID})
SIZE = (512, 512)
"""Of the authors of FRSKD."""
PUBLISHED = {"VOC2007/trainval": 422, "VOC2007/test": 210, "VOC2012/trainval": 2913}
"""Year and list -> names that the published list has."""
LISTS = {each: "{}/ImageSets/Segmentation/{}.txt".format(*each.split("/")) for each in PUBLISHED}
FOLDERS = ("VOCdevkit",)
NAMED = 3
"""Files that a message names."""


def load(root: Path, wanted: Wanted) -> Dataset:
    """Trainval of both years, as far as they are there, to train; the test images of 2007 to test.

    Raises:
        FileNotFoundError: neither year, or a file that a list names.
        ValueError: a file that cannot be used, or lies elsewhere by a link.
    """
    folder = _folder(root)
    if folder is None:
        raise missing("voc_seg", root)
    lists = {each: _names(folder / file) for each, file in LISTS.items() if (folder / file).is_file()}
    notes = [*counted({each: len(names) for each, names in lists.items()}, PUBLISHED)]
    own, test = lists.get("VOC2007/trainval", []), lists.get("VOC2007/test", [])
    later = lists.get("VOC2012/trainval", [])
    tested = [name for name in later if _of_2007(name) in set(test)]
    repeated = [name for name in later if _of_2007(name) in set(own)]
    left = [name for name in later if name not in {*tested, *repeated}]
    if later and test:
        notes.append(
            f"of VOC2012, {count(len(tested), 'picture')} of the test of VOC2007 and {len(repeated)} of its "
            "trainval are left out"
        )
    elif later:
        notes.append("VOC2012 holds pictures of the test of VOC2007, which is not there: they are trained on")
    splits = {"train": [*_pairs(folder / "VOC2007", own), *_pairs(folder / "VOC2012", left)]}
    if test:
        splits["test"] = list(_pairs(folder / "VOC2007", test))
    return scene_set("voc_seg", CLASSES, CODING, splits, wanted, SIZE, notes)


def is_in(folder: Path) -> bool:
    """Whether a folder holds a year of it with its lists of segmentation."""
    return _folder(folder) is not None


def whereabouts(root: Path) -> Whereabouts:
    """The lists of names that are there; pictures and masks are not counted."""
    return look("voc_seg", _folder(root), list(LISTS.values()))


def _folder(root: Path) -> Path | None:
    """The folder of the years."""
    needed = [file for each, file in LISTS.items() if each.endswith("trainval")]
    return find(root, FOLDERS, lambda folder: any((folder / file).is_file() for file in needed))


def _names(file: Path) -> list[str]:
    """The names of a list.

    Raises:
        ValueError: it cannot be read, lists none, lists one twice, or lists what is no name of a file.
    """
    try:
        names = file.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(file)} is no list of names: {error}") from error
    for name in names:
        if not name.replace("_", "").isalnum():
            raise ValueError(f"{shown(file)} lists {shown(name)!r}, which is no name of a picture")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{shown(file)} lists {'a name twice' if names else 'no name'}")
    return names


def _of_2007(name: str) -> str | None:
    """The name that a picture of VOC2012 has in VOC2007, if it is from there."""
    return name.removeprefix("2007_") if name.startswith("2007_") else None


def _pairs(folder: Path, names: Sequence[str]) -> Pairs:
    pictures, masks = (
        inside(folder, [place.format(name) for name in names])
        for place in ("JPEGImages/{}.jpg", "SegmentationClass/{}.png")
    )
    lacking = [path for path in (*pictures, *masks) if not path.is_file()]
    if lacking:
        named = ", ".join(shown(path) for path in lacking[:NAMED]) + (" ..." if len(lacking) > NAMED else "")
        raise FileNotFoundError(
            f"{count(len(lacking), 'file')} not there that the lists of {shown(folder)} name: {named}; "
            "unpack the archive again"
        )
    return list(zip(pictures, masks, strict=True))
