"""CINIC-10: the classes of CIFAR-10 with pictures of CIFAR-10 and ImageNet, 32x32.

Darlow, Crowley, Antoniou, Storkey: CINIC-10 is not ImageNet or CIFAR-10, 2018.

Its folder ``valid`` is the validation split, so that nothing is held out of the 90,000 training images.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from ..averaged import averaged, require_smaller
from ..dataset import Dataset, Images, channel_statistics
from ..listing import PARTS, Found, parts_of
from ..wanted import Wanted
from . import Whereabouts
from .listed import by_class, counted, find, from_lists, look, missing, require_classes
from .packed import Kept, decoded

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PUBLISHED = {"train": 90000, "val": 90000, "test": 90000}
FOLDERS = ("CINIC-10", "cinic-10", "CINIC10", "cinic10")
ARCHIVES = ("CINIC-10.tar.gz", "cinic-10.tar.gz")
SPLITS = {name: part for part, names in PARTS.items() for name in names}
"""Name of a folder -> split."""
STORED = (32, 32)


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the folder where there is one, else from the archive, which is not unpacked.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: a folder of no class, a class without images, a damaged file or archive, a size above
            32x32, or an option of pictures in files with the archive.
    """
    place = _place(root)
    if place is None:
        raise missing("cinic10", root)
    require_smaller("cinic10", STORED, wanted.size)
    if place.is_dir():
        return _from_folder(place, wanted)
    wanted.refuse_for_pictures(place.name, archive=True)
    return averaged(_from_archive(place, wanted.reading.channels), wanted.size)


def is_in(folder: Path) -> bool:
    """Whether a folder holds the archive, or a folder of its name; any other is a user's."""
    return _place(folder) not in (None, folder)


def whereabouts(root: Path) -> Whereabouts:
    """Where :func:`load` would read it."""
    return look("cinic10", _place(root), ("train", "valid", "test"))


def _place(root: Path) -> Path | None:
    folder = find(root, FOLDERS, lambda path: (path / "train" / CLASSES[0]).is_dir())
    if folder is not None and folder != root:
        return folder
    archive = next((root / name for name in ARCHIVES if (root / name).is_file()), None)
    return archive or folder


def _from_folder(place: Path, wanted: Wanted) -> Dataset:
    beside = Found(place)
    folders = parts_of(place, beside)
    read = {part: by_class(folder, CLASSES, place) for part, folder in folders.items()}
    found = [each for _, each in read.values()]
    return from_lists(
        "cinic10",
        CLASSES,
        {part: pairs for part, (pairs, _) in read.items()},
        wanted,
        size=STORED,
        stored=STORED,
        published=PUBLISHED,
        notes=[note for each in found for note in each.note(f"in {place.name}")],
        broken=[link for each in found for link in each.broken],
    )


def _from_archive(archive: Path, channels: int) -> Dataset:
    images, counts = decoded(archive, _kept, ("train", "val"), STORED, channels=channels)
    train = images["train"]
    require_classes(f"cinic10 in {archive.name}", CLASSES, train.y.tolist())
    mean, std = channel_statistics(train.x)
    return Dataset(
        "cinic10",
        CLASSES,
        train,
        images["val"] if "val" in counts else None,
        partial(_test, archive, channels) if "test" in counts else None,
        mean,
        std,
        crop=4,
        flip=True,
        notes=counted(counts, PUBLISHED),
    )


def _test(archive: Path, channels: int) -> Images:
    images, _ = decoded(archive, _kept, ("test",), STORED, channels=channels)
    return images["test"]


def _kept(name: PurePosixPath) -> Kept | None:
    """Where ``[CINIC-10/]train/airplane/n02690373_1.png`` belongs."""
    if name.suffix.lower() != ".png" or len(name.parts) < 3:
        return None
    part, label = name.parts[-3:-1]
    return Kept(SPLITS[part], CLASSES.index(label)) if part in SPLITS and label in CLASSES else None
