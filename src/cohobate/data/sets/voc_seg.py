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
IMAGES = {("2007", "trainval"): 422, ("2007", "test"): 210, ("2012", "trainval"): 2913}
"""Year and list -> names that the published list has."""
LAYOUT = (
    "VOCdevkit/VOC2007 and VOCdevkit/VOC2012, each with ImageSets/Segmentation/*.txt, JPEGImages and "
    "SegmentationClass"
)
ADDRESS = "http://host.robots.ox.ac.uk/pascal/VOC/"
MISSING = 3
"""Files that a message names."""


def load(root: Path, wanted: Wanted) -> Dataset:
    """Trainval of both years, as far as they are there, to train; the test images of 2007 to test.

    Raises:
        FileNotFoundError: neither year, or a file that a list names.
        ValueError: a file that cannot be used.
    """
    years = _years(root)
    lists = {
        (year, part): _names(years[year], part)
        for year, part in IMAGES
        if year in years and _list(years[year], part)
    }
    if not any(part == "trainval" for _, part in lists):
        raise FileNotFoundError(
            f"no voc_seg in {shown(root.absolute())}: looked there for {LAYOUT}; it is to be had at {ADDRESS}"
        )
    notes = [
        f"{part} of VOC{year} has {len(names)} names, the published list {IMAGES[year, part]}"
        for (year, part), names in lists.items()
        if len(names) != IMAGES[year, part]
    ]
    absent = [f"{part} of VOC{year}" for year, part in IMAGES if (year, part) not in lists]
    notes += [f"not there: {', '.join(absent)}"] * bool(absent)
    own, test = lists.get(("2007", "trainval"), []), lists.get(("2007", "test"), [])
    later = lists.get(("2012", "trainval"), [])
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
    splits = {"train": [*_pairs(years.get("2007"), own), *_pairs(years.get("2012"), left)]}
    if test:
        splits["test"] = list(_pairs(years["2007"], test))
    return scene_set("voc_seg", CLASSES, CODING, splits, wanted, SIZE, notes)


def is_in(folder: Path) -> bool:
    """Whether a folder holds a year of it with its lists of segmentation."""
    return any(_list(place, "trainval") for place in _years(folder).values())


def whereabouts(root: Path) -> Whereabouts:
    """The lists of names that are there; pictures and masks are not counted."""
    years = _years(root)
    found = {
        f"VOC{year}/ImageSets/Segmentation/{part}.txt": _list(years[year], part) if year in years else None
        for year, part in IMAGES
    }
    files = {name: file.stat().st_size for name, file in found.items() if file is not None}
    place = next((path.parent for path in years.values()), None)
    return Whereabouts(
        LAYOUT, place if files else None, files, tuple(name for name in found if name not in files)
    )


def _years(root: Path) -> dict[str, Path]:
    """Year -> its folder: in VOCdevkit in ``root``, or in ``root`` itself."""
    found = {}
    for year in ("2007", "2012"):
        places = [root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}"]
        there = next((place for place in places if place.is_dir()), None)
        if there is not None:
            found[year] = there
    return found


def _list(folder: Path, part: str) -> Path | None:
    file = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
    return file if file.is_file() else None


def _names(folder: Path, part: str) -> list[str]:
    """The names of a list.

    Raises:
        ValueError: it cannot be read, lists none, lists one twice, or lists what is no name of a file.
    """
    file = folder / "ImageSets" / "Segmentation" / f"{part}.txt"
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


def _pairs(folder: Path | None, names: Sequence[str]) -> Pairs:
    if folder is None:
        return []
    pairs = [
        (folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png")
        for name in names
    ]
    missing = [path for pair in pairs for path in pair if not path.is_file()]
    if missing:
        named = ", ".join(shown(path) for path in missing[:MISSING]) + (
            " ..." if len(missing) > MISSING else ""
        )
        raise FileNotFoundError(
            f"{count(len(missing), 'file')} not there that the lists of {shown(folder)} name: {named}; "
            "unpack the archive again"
        )
    return pairs
