"""A folder of pictures in ``images`` and their masks, of the same names, in ``masks``.

Three arrangements are read: ``train/images`` and ``train/masks`` (val and test likewise); ``images/train``
and ``masks/train``; and ``images`` and ``masks`` alone, with ``train.txt`` (val.txt, test.txt), lists of
names, where there are such. What the pixels of the masks mean is the matter of
:mod:`cohobate.data.scene_classes`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config.sizes import Size
from ..config.text import shown
from ..config.words import count
from .dataset import Dataset
from .folder import LARGE
from .listing import PARTS, Found, below, entries, parts_of
from .pictures import Reading
from .reader import Care
from .scene_classes import FILE, classes_of
from .scene_layout import IMAGES, MASKS, folders_in, pair_of, refuse_camvid, refuse_half
from .scene_sets import Pairs, scene_set
from .wanted import Wanted

NAMED = 5
"""Files that a message names."""


def has_masks(root: Path) -> bool:
    """Whether a folder is of this kind, by the names of its folders.

    Raises:
        ValueError: it could as well be of images in class folders, it is arranged as CamVid is, or has one
            of the two folders and not the other.
    """
    if root.is_dir():
        refuse_camvid(root)
    beside = pair_of(root, root) is not None
    parts = parts_of(root, Found(root)) if root.is_dir() else {}
    within = [part for part in parts.values() if pair_of(part, root) is not None]
    if beside and parts:
        raise ValueError(
            f"{shown(root)} has {IMAGES} and {MASKS}, and {next(iter(parts.values())).name} beside them; "
            "keep the images and masks, or the splits"
        )
    for part in within:
        others = sorted(set(folders_in(part, root)) - {each.name for each in pair_of(part, root) or ()})
        if others:
            raise ValueError(
                f"{shown(part)} has {IMAGES} and {MASKS}, and {shown(others[0])} beside them: it could be "
                f"images with masks or classes of images; rename {IMAGES} and {MASKS} if they are classes, "
                "else move the others"
            )
    if within and len(within) < len(parts):
        without = next(part for part in parts.values() if part not in within)
        raise ValueError(
            f"{shown(without)} has no {IMAGES} and {MASKS}, and {shown(within[0].name)} has; give all splits "
            "the same form"
        )
    if not (beside or within) and root.is_dir():
        refuse_half(root, parts)
    return beside or bool(within)


def load_scenes(
    root: Path,
    size: Size | None = None,
    reading: Reading | None = None,
    care: Care | None = None,
    *,
    channels: int | None = None,
) -> Dataset:
    """The data set of a folder that :func:`has_masks`.

    Args:
        root: the folder.
        size: (height, width) that the network sees, in pixels; None: 224 x 224.
        reading: how a picture becomes an image of that size.
        care: what is done about files that cannot be used.
        channels: 3 (RGB), or 1: read as grey; None: as ``reading`` says.

    Raises:
        ValueError: no training pictures, a picture without a mask or the other way, names that are in two
            splits, a link that leaves the folder, classes that are not known, or a file that cannot be used.
    """
    reading, care = reading or Reading(), care or Care()
    if channels is not None:
        reading = replace(reading, channels=channels)
    splits, notes = _splits(root)
    if not splits.get("train"):
        raise ValueError(
            f"{shown(root)} has no training pictures with masks; found {', '.join(splits) or 'none'}"
        )
    masks = [mask for pairs in splits.values() for _, mask in pairs]
    classes = classes_of(root, masks, care.progress)
    wanted = Wanted(size, reading, care)
    if "test" not in splits:
        notes.append("there is no test split")
    name = shown(root.absolute().name)
    size = (LARGE, LARGE)
    notes += classes.notes
    return scene_set(
        name, classes.names, classes.coding, splits, wanted, size, notes, classes.unread, classes.file
    )


def _splits(root: Path) -> tuple[dict[str, Pairs], list[str]]:
    """The pairs of each split, and what is not read."""
    notes: list[str] = []
    both = pair_of(root, root)
    if both is None:
        folders = parts_of(root, beside := Found(root))
        arranged = {
            part: pair for part, folder in folders.items() if (pair := pair_of(folder, root)) is not None
        }
        notes += _told(beside, [FILE], "beside the splits")
        for part in arranged:
            within = Found(root)
            read = [each.name for each in arranged[part]]
            _leave(folders[part], within, read)
            notes += _told(within, [], f"in {folders[part].name}")
        return {part: _pairs(root, *pair, notes) for part, pair in arranged.items()}, notes
    _leave(
        root, beside := Found(root), [both[0].name, both[1].name, *(file.name for _, file in _lists(root))]
    )
    notes += _told(beside, [FILE], f"beside {IMAGES} and {MASKS}")
    others = [Found(root), Found(root)]
    images, masks = (parts_of(folder, found) for folder, found in zip(both, others, strict=True))
    if images.keys() != masks.keys():
        alone = sorted(images.keys() ^ masks.keys())[0]
        raise ValueError(
            f"{shown(root)} has the split {alone} in {IMAGES} or {MASKS} alone; both need the same splits"
        )
    if not images:
        return _by_lists(root, both[0], _pairs(root, *both, notes), notes), notes
    for folder, found in zip(both, others, strict=True):
        notes += _told(found, [], f"in {folder.name}, beside the splits")
    ordered = [part for part in PARTS if part in images]
    return {part: _pairs(root, images[part], masks[part], notes) for part in ordered}, notes


def _pairs(root: Path, images: Path, masks: Path, notes: list[str]) -> Pairs:
    """The pictures below a folder, and the masks of the same names below another.

    Raises:
        ValueError: none, two files of one name, one that has no partner, or a link that leads nowhere.
    """
    stems = []
    for folder, kind in ((images, "image"), (masks, "mask")):
        found = Found(root)
        below(folder, folder, found)
        if found.broken:
            raise ValueError(
                f"{shown(found.broken[0][0])} cannot be read: {found.broken[0][1]}; mend or remove it"
            )
        notes += found.note(f"in {shown(os.path.relpath(folder, root))}")
        stems.append(_by_stem(found.paths, folder, kind))
    pictures, own = stems
    for have, lack, where, what, other in (
        (pictures, own, masks, "picture", "mask"),
        (own, pictures, images, "mask", "picture"),
    ):
        alone = [path for stem, path in have.items() if stem not in lack]
        if alone:
            has, them = ("has", "it") if len(alone) == 1 else ("have", "them")
            raise ValueError(
                f"{count(len(alone), what)} {has} no {other} of the same name in {shown(where)}: "
                f"{_named(alone)}; add what is missing, or remove {them}"
            )
    if not pictures:
        raise ValueError(
            f"{shown(images)} has no picture in it or below it; put pictures there, or remove it"
        )
    return [(pictures[stem], own[stem]) for stem in pictures]


def _by_stem(paths: list[Path], folder: Path, kind: str) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for path in paths:
        stem = os.fspath(path.relative_to(folder).with_suffix(""))
        if stem in stems:
            raise ValueError(
                f"{shown(stems[stem])} and {shown(path)} are two {kind}s of one name; remove one"
            )
        stems[stem] = path
    return stems


def _named(paths: list[Path]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(shown(path) for path in paths[:NAMED]) + more


# ---------------------------------------------------------------- lists of names


def _by_lists(root: Path, images: Path, pairs: Pairs, notes: list[str]) -> dict[str, Pairs]:
    """The pairs of each split that has a list; all are for training where there is none.

    Raises:
        ValueError: a name that is not there, or is in two splits; or lists without one of training.
    """
    lists = dict(_lists(root))
    if not lists:
        return {"train": pairs}
    if "train" not in lists:
        raise ValueError(f"{shown(root)} has {next(iter(lists.values())).name} and no train.txt; add it")
    known = {
        os.fspath(picture.relative_to(images).with_suffix("")): (picture, mask) for picture, mask in pairs
    }
    where: dict[str, Path] = {}
    splits: dict[str, Pairs] = {}
    for part, file in lists.items():
        names = [_known(name, known, file) for name in _lines(file)]
        for name in names:
            if name in where:
                raise ValueError(
                    f"{shown(name)} is in {where[name].name} and again in {file.name}; remove one"
                )
            where[name] = file
        splits[part] = [known[name] for name in names]
    if len(where) < len(known):
        files = ", ".join(file.name for file in lists.values())
        notes.append(f"{count(len(known) - len(where), 'picture')} in no list ({files}), and not read")
    return splits


def _lists(root: Path) -> Iterator[tuple[str, Path]]:
    names = {entry.name.lower(): Path(entry.path) for entry in entries(root, Found(root)) if entry.is_file()}
    for part, others in PARTS.items():
        found = [names[f"{other}.txt"] for other in others if f"{other}.txt" in names]
        if len(found) > 1:
            raise ValueError(f"{shown(found[0])} and {found[1].name} are two lists of one split; remove one")
        if found:
            yield part, found[0]


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(file)} cannot be read as text in UTF-8: {error}") from error
    names = [line for line in lines if line]
    if not names:
        raise ValueError(f"{shown(file)} lists no picture")
    return names


def _known(name: str, known: Mapping[str, object], file: Path) -> str:
    """A name of a list as that of a pair; it may have the ending of the picture."""
    for candidate in (name, os.path.splitext(name)[0]):
        if candidate in known:
            return candidate
    raise ValueError(f"{shown(file)} lists {shown(name)!r}, and there is no such picture with a mask")


# ---------------------------------------------------------------- what is not read


def _leave(folder: Path, found: Found, read: Sequence[str]) -> None:
    """Count what is in a folder beside what is read."""
    for entry in entries(folder, found):
        if entry.name not in read:
            found.leave(Path(entry.path), folder, "folder" if entry.is_dir() else None)


def _told(found: Found, read: Sequence[str], where: str) -> tuple[str, ...]:
    """What is not read in a folder, less what is read elsewhere."""
    left = {kind: [name for name in names if name not in read] for kind, names in found.unread.items()}
    found.unread.clear()
    found.unread.update({kind: names for kind, names in left.items() if names})
    return found.note(where)
