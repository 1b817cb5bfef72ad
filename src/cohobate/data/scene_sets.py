"""Pictures and masks of each split -> a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config.sizes import Size, shown_size
from .dataset import Dataset
from .reader import imagenet
from .scene_check import sound
from .scenes import Coding, Scenes
from .wanted import Wanted

Pairs = Sequence[tuple[Path, Path]]
"""Pictures and their masks."""


def scene_set(
    name: str,
    classes: Sequence[str],
    coding: Coding,
    splits: Mapping[str, Pairs],
    wanted: Wanted,
    size: Size,
    notes: Sequence[str] = (),
    unread: Mapping[Path, str] | None = None,
    file: Path | None = None,
) -> Dataset:
    """A data set of segmentation, its files checked as asked for.

    Args:
        name: in reports.
        classes: K names.
        coding: what the pixels of the masks mean.
        splits: train, and val and test where there are such.
        wanted: size, reading and care of the run.
        size: (height, width) that the network sees where the run does not say.
        notes: remarks for readers of the results.
        unread: of masks that were decoded before, see :class:`cohobate.data.scene_classes.Classes`.
        file: that says the classes, if the user wrote it.

    Raises:
        ValueError: a file cannot be used (:func:`cohobate.data.scene_check.sound`), or a size to which
            pictures are resized before a central crop.
    """
    if wanted.reading.eval_resize is not None:
        raise ValueError(
            f"eval_resize {wanted.reading.eval_resize} is for images of which evaluation shows the middle, "
            "and it shows all of pictures with masks; leave it out"
        )
    seen = wanted.size or size
    scenes = {
        part: Scenes(
            tuple(picture for picture, _ in pairs),
            tuple(mask for _, mask in pairs),
            seen,
            coding,
            wanted.reading,
        )
        for part, pairs in splits.items()
    }
    scenes, said = sound(scenes, wanted.care, unread, file)
    guessed = [] if wanted.size else [f"images are seen at {shown_size(seen)} pixels (--image-size)"]
    test = scenes.get("test")
    mean, std = imagenet(wanted.reading.channels)
    return Dataset(
        name,
        tuple(classes),
        scenes["train"],
        scenes.get("val"),
        (lambda: test) if test is not None else None,
        mean,
        std,
        crop=0,
        flip=True,
        notes=(*notes, *guessed, *said),
    )
