"""A check of pictures and masks before anything is trained: every mask is decoded once, in threads.

It must be of its picture's size, and hold only what the classes have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from ..config.sizes import shown_size
from ..config.text import shown
from ..config.words import count
from .headers import CHUNK, Progress, check, listed
from .listing import refuse
from .masks import Masks
from .pictures import PictureError, orientation
from .reader import Care
from .scene_faults import Fault, by_cause, fault_of, remedy
from .scenes import Scenes
from .stored import Picture

TURNED = (5, 6, 7, 8)
"""EXIF's orientations in which width and height are exchanged."""


def sound(
    splits: dict[str, Scenes],
    care: Care,
    unread: Mapping[Path, str] | None = None,
    file: Path | None = None,
) -> tuple[dict[str, Scenes], tuple[str, ...]]:
    """The scenes that can be read, and remarks on how they are.

    Args:
        splits: of a data set.
        care: what is done about files that cannot be used.
        unread: of masks that were decoded before, see :class:`cohobate.data.scene_classes.Classes`.
        file: that says the classes, if the user wrote it.

    Raises:
        ValueError: pictures or masks cannot be read, a mask is of another size than its picture or holds what
            no class has, and such are not to be skipped; or none is left.
    """
    if not care.check:
        return splits, ("the images and masks were not checked before the training (--no-check)",)
    files = sum(map(len, splits.values()))
    bad: set[Picture] = set()
    notes: list[str] = []
    done = 0

    def progress(now: int, _: int) -> None:
        if care.progress is not None:
            care.progress(done + now, 2 * files)

    for part, scenes in splits.items():
        findings = check(scenes.paths, scenes.reading, thorough=care.skip, progress=progress)
        done += len(scenes)
        if not care.skip:
            refuse(findings.bad, len(scenes))
        pictures = {path for path, _ in findings.bad}
        wrong = _wrong_masks(scenes, pictures, unread, progress)
        done += len(scenes)
        if wrong and not care.skip:
            raise ValueError(
                f"{len(wrong):,} of {count(len(scenes), 'mask')} of {part} cannot be used: "
                f"{by_cause(wrong)}; {remedy(wrong, file, some_left=len(wrong) < len(scenes))}"
            )
        bad |= pictures | {fault.path for fault in wrong}
        said = [*findings.bad, *((fault.path, fault.why) for fault in wrong)]
        notes += [
            f"{count(len(said), 'file')} of {part} skipped, with what belongs to them: {listed(said)}"
        ] * bool(said)
        notes += [f"{part}: {note}" for note in findings.notes(replace(scenes.reading, fit="squash"))]
    return {part: _without(bad, part, scenes) for part, scenes in splits.items()}, tuple(notes)


def _wrong_masks(
    scenes: Scenes, pictures: set[Picture], unread: Mapping[Path, str] | None, progress: Progress
) -> list[Fault]:
    """The masks that cannot be used, and why; those of unreadable ``pictures`` are not looked at."""
    Image.init()
    size_of = partial(_decoded, Masks(scenes.coding)) if unread is None else partial(_known, unread)
    threads = min(16, 2 * (os.cpu_count() or 1))
    rows = [row for row, path in enumerate(scenes.paths) if path not in pictures]

    def look(chunk: Sequence[int]) -> list[Fault]:
        each = (_fault(scenes.paths[row], scenes.masks[row], size_of) for row in chunk)
        return [fault for fault in each if fault is not None]

    found: list[Fault] = []
    chunks = [rows[first : first + CHUNK] for first in range(0, len(rows), CHUNK)]
    with ThreadPoolExecutor(threads) as pool:
        for number, wrong in enumerate(pool.map(look, chunks), start=1):
            found += wrong
            progress(min(number * CHUNK, len(rows)), len(rows))
    return found


def _decoded(masks: Masks, path: Path) -> tuple[int, int]:
    height, width = masks(path).shape
    return height, width


def _known(unread: Mapping[Path, str], path: Path) -> tuple[int, int]:
    if path in unread:
        raise PictureError(f"mask {shown(path)}: {unread[path]}", unread[path])
    with Image.open(path) as mask:
        return mask.height, mask.width


def _fault(picture: Path, mask: Path, size_of: Callable[[Path], tuple[int, int]]) -> Fault | None:
    """Why a mask cannot be used; None if it can."""
    try:
        height, width = size_of(mask)
    except PictureError as error:
        return fault_of(mask, error)
    own = upright_size(picture)
    if own == (height, width):
        return None
    why = (
        f"it is {shown_size((height, width))} pixels (height x width), and its picture {shown(picture)} "
        f"{shown_size(own)}"
    )
    return Fault(mask, why, "another size than that of its picture")


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of the picture in a file, turned upright, by its header."""
    with Image.open(path) as picture:
        width, height = picture.size
        turned = picture.format != "TIFF" and orientation(picture, known=False) in TURNED
    return (width, height) if turned else (height, width)


def _without(bad: set[Picture], part: str, scenes: Scenes) -> Scenes:
    rows = [
        row
        for row, pair in enumerate(zip(scenes.paths, scenes.masks, strict=True))
        if not bad.intersection(pair)
    ]
    if not rows:
        raise ValueError(f"none of the pictures in {part} can be used with its mask")
    if len(rows) == len(scenes):
        return scenes
    return replace(
        scenes,
        paths=tuple(scenes.paths[row] for row in rows),
        masks=tuple(scenes.masks[row] for row in rows),
    )
