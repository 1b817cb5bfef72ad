"""RAF-DB, its basic part: faces of seven expressions, aligned, 100x100.

Li et al.: Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in the
Wild, 2017. The images are seen at 32x32 unless a run says otherwise, as Self-Guidance (Zheng and Peng)
has them.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ...config.text import as_text, shown
from ..dataset import Dataset
from ..wanted import Wanted
from . import Whereabouts
from .listed import Pairs, by_class, find, from_lists, inside, look
from .official import absent, lines, number, refuse_twice

CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""Labels 1 to 7 of the list."""
NUMBERS = tuple(str(label) for label in range(1, 8))
"""Names of the class folders, where a copy is sorted into such."""
PUBLISHED = {"train": 12271, "test": 3068}
NAMED = ("raf_db", "RAF-DB", "RAF_DB", "rafdb", "raf-db")
FOLDERS = ("basic", *(f"{folder}/basic" for folder in NAMED), *NAMED)
SORTED = ("DATASET", *(f"{folder}/DATASET" for folder in NAMED), *NAMED)
LIST = "EmoLabel/list_patition_label.txt"
ALIGNED = "Image/aligned"
SEEN = (32, 32)


def load(root: Path, wanted: Wanted) -> Dataset:
    """From the list and the aligned images, or from ``DATASET/train/1`` to ``7`` and ``test`` like it.

    Raises:
        FileNotFoundError: neither is there, or the aligned images are not unpacked.
        ValueError: a damaged line, a label out of range, a folder of no class, or a name of neither split.
    """
    listed, sorted_ = _listed(root), _sorted(root)
    if listed is not None:
        splits, notes, broken = _from_list(listed), [], []
    elif sorted_ is not None:
        found = {part: by_class(sorted_ / part, NUMBERS, sorted_) for part in PUBLISHED}
        splits = {part: pairs for part, (pairs, _) in found.items()}
        notes = [note for part, (_, each) in found.items() for note in each.note(f"in {part}")]
        broken = [link for _, each in found.values() for link in each.broken]
    else:
        raise absent("raf_db", root, ("basic.zip", "RAF-DB.zip"))
    return from_lists(
        "raf_db", CLASSES, splits, wanted, size=SEEN, published=PUBLISHED, notes=notes, broken=broken
    )


def is_in(folder: Path) -> bool:
    """Whether a folder holds the list, or a folder DATASET of the classes' numbers."""
    place = _sorted(folder)
    # Classes of these names in a folder of another name may be a user's.
    return _listed(folder) is not None or (place is not None and place.name == "DATASET")


def whereabouts(root: Path) -> Whereabouts:
    """Where :func:`load` would read it."""
    listed = _listed(root)
    return look("raf_db", listed or _sorted(root), (LIST, ALIGNED) if listed else tuple(PUBLISHED))


def _listed(root: Path) -> Path | None:
    return find(root, FOLDERS, lambda path: (path / LIST).is_file())


def _sorted(root: Path) -> Path | None:
    return find(root, SORTED, lambda path: all((path / "train" / each).is_dir() for each in NUMBERS))


def _from_list(place: Path) -> dict[str, Pairs]:
    if not (place / ALIGNED).is_dir():
        raise FileNotFoundError(
            f"{shown(place / ALIGNED)} is not there, the aligned faces of raf_db: unpack aligned.zip in "
            f"{shown(place / 'Image')}"
        )
    rows = lines(place / LIST, 2)
    names = [name for name, _ in rows]
    files = inside(
        place / ALIGNED, [str(PurePosixPath(name).with_suffix("")) + "_aligned.jpg" for name in names]
    )
    splits: dict[str, list[tuple[Path, int]]] = {part: [] for part in PUBLISHED}
    for (name, label), path in zip(rows, files, strict=True):
        part = name.partition("_")[0]
        if part not in splits:
            raise ValueError(
                f"{shown(place / LIST)} has {as_text(name)!r}, which is neither train_ nor test_"
            )
        splits[part].append((path, number(label, 1, 7, f"the label of {as_text(name)}", place / LIST) - 1))
    refuse_twice("raf_db", splits)
    return dict(splits)
