"""Images that are learned from without their labels, beside those of a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..core import IGNORED
from .dataset import Dataset, Files, Split
from .sets.cifar import FORMS, find
from .sets.folder import load_pictures
from .sources import NAMES, load_data


def unlabelled(spec: str, root: Path, like: Dataset) -> Split:
    """Images to mix in with those of ``like``; every label is -100, which no loss counts.

    Args:
        spec: a name of :data:`cohobate.data.sources.NAMES` (its training images), or a folder of
            images, sorted into folders or not (what is below ``train`` if there is such a folder).
        root: where the files of a name are.
        like: whose size they must have; the images of a folder are brought to it.

    Raises:
        ValueError: images of another size, no image, an unknown name, damaged data.
        FileNotFoundError: nothing is there.
    """
    path = Path(spec).expanduser()
    named = spec in NAMES or any(find(name, path) is not None for name in FORMS)
    if named or not path.is_dir():
        return fitting(load_data(spec, root).train, like, spec)
    return fitting(load_pictures(path, like.image_size), like, spec)


def fitting(split: Split, like: Dataset, name: str = "the unlabelled images") -> Split:
    """The same images without labels, if they are of the size of ``like``.

    Raises:
        ValueError: they are not.
    """
    if (own := _size(split)) != (wanted := _size(like.train)):
        raise ValueError(
            f"images of {name} are {own[0]} x {own[1]}, those of {like.name} {wanted[0]} x {wanted[1]}; "
            "give a folder of images (they are resized to a square), or a data set of this size"
        )
    return replace(split, y=torch.full((len(split),), IGNORED))


def _size(split: Split) -> tuple[int, int]:
    """Height and width, in pixels, as the network sees them."""
    if isinstance(split, Files):
        return split.size, split.size
    return split.x.shape[1], split.x.shape[2]
