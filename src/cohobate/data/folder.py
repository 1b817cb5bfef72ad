"""A folder of images in class folders: train/<class>/*, and val/ and test/ like it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..core import IGNORED
from .dataset import Channels, Dataset, Files, Images, Split, channel_statistics

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
SMALL = 64
"""Up to this side, in pixels, images are held in memory."""
LARGE = 224

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def decode(path: Path) -> Image.Image:
    """An image in RGB.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded: {error}") from error


def read_picture(path: Path, channels: int) -> Image.Image:
    """An image in RGB (3 channels) or grey (1).

    Raises:
        ValueError: it cannot be decoded.
    """
    picture = decode(path)
    return picture.convert("L") if channels == 1 else picture


def load_folder(root: Path, image_size: int | None = None, channels: int | None = None) -> Dataset:
    """Images in class folders; the classes are the folders of ``train``, sorted by name.

    Up to 64 pixels a side the images are decoded once and held in memory, with the mean and
    standard deviation of the training images, random crops (padding of an eighth) and flips. Larger
    ones stay on disk and are normalised by ImageNet's mean and standard deviation.

    Args:
        root: holds ``train`` and, where there are such, ``val`` and ``test``.
        image_size: side in pixels. None: that of the first 32 images where they are equal, square
            and at most 64; else 224.
        channels: 3 (RGB), or 1: read as grey; None: 3.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no train folder, an empty class, a class that train does not have, a link that
            leaves the folder, an image that cannot be decoded, or another number of channels.
    """
    if channels not in (None, 1, 3):
        raise ValueError(
            f"the images of a folder are read in 3 channels (RGB) or 1 (grey), got channels {channels}; "
            "other numbers of channels are for arrays, in a file .npz"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root.absolute()}")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    if not (root / "train").is_dir():
        raise ValueError(f"{root} has no folder train; images are expected in train/<class>/")
    classes = tuple(sorted(entry.name for entry in _entries(root / "train", root) if entry.is_dir()))
    if not classes:
        raise ValueError(f"{root / 'train'} has no class folders; images are expected in train/<class>/")
    paths, y = _listing(root, "train", classes)
    side = image_size or _common_side(paths[:32])
    size = side, side
    others = {part: _listing(root, part, classes) for part in ("val", "test") if (root / part).is_dir()}
    read = partial(_split, size=size, channels=channels or 3)
    train = read(paths, y)
    val = read(*others["val"]) if "val" in others else None
    test: Callable[[], Split] | None = partial(read, *others["test"]) if "test" in others else None
    mean, std = channel_statistics(train.x) if isinstance(train, Images) else imagenet(channels or 3)
    crop = max(1, side // 8) if isinstance(train, Images) else 0
    return Dataset(root.absolute().name, classes, train, val, test, mean, std, crop, flip=True)


def imagenet(channels: int) -> tuple[Channels, Channels]:
    """Mean and standard deviation of ImageNet; in one channel, the mean of each over the three."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (round(sum(IMAGENET_MEAN) / 3, 3),), (round(sum(IMAGENET_STD) / 3, 3),)


def load_pictures(root: Path, size: tuple[int, int], channels: int = 3) -> Split:
    """All images in a folder and below it, in whatever folders they lie, without labels (-100).

    A folder with ``train`` in it gives what is below that, as ``val`` and ``test`` are not for
    training. Up to 64 pixels a side the images are held in memory, as those of :func:`load_folder`.

    Args:
        root: the folder; links to folders are not followed.
        size: (height, width) that the network sees, in pixels.
        channels: that it sees, 3 or 1.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image, a link that leaves the folder, or an image that cannot be decoded.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root.absolute()}")
    folder = root / "train" if (root / "train").is_dir() else root
    paths = tuple(_below(folder, root))
    if not paths:
        raise ValueError(f"{folder} has no image in it or below it; looked for {', '.join(EXTENSIONS)}")
    return _split(paths, torch.full((len(paths),), IGNORED), size, channels)


def _below(folder: Path, root: Path) -> Iterator[Path]:
    for entry in sorted(_entries(folder, root), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), root)
        elif entry.is_file() and entry.name.lower().endswith(EXTENSIONS):
            yield Path(entry.path)


def _entries(folder: Path, root: Path) -> Iterator[os.DirEntry[str]]:
    if folder.is_symlink():
        _refuse_outside(folder, root)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                _refuse_outside(Path(entry.path), root)
            yield entry


def _refuse_outside(link: Path, root: Path) -> None:
    target = link.resolve(strict=True)
    if not target.is_relative_to(root.resolve()):
        raise ValueError(f"{link} is a link that leaves {root}: it leads to {target}")


def _listing(root: Path, part: str, classes: tuple[str, ...]) -> tuple[tuple[Path, ...], Tensor]:
    folders = sorted(entry.name for entry in _entries(root / part, root) if entry.is_dir())
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise ValueError(f"{root / part} has a class {unknown[0]!r} that {root / 'train'} does not have")
    if not folders:
        raise ValueError(f"{root / part} has no class folders")
    paths: list[Path] = []
    labels: list[int] = []
    for name in folders:
        files = _pictures(root / part / name, root)
        paths += files
        labels += [classes.index(name)] * len(files)
    return tuple(paths), torch.tensor(labels)


def _pictures(folder: Path, root: Path) -> list[Path]:
    files = [
        Path(entry.path)
        for entry in _entries(folder, root)
        if entry.is_file() and entry.name.lower().endswith(EXTENSIONS)
    ]
    if not files:
        raise ValueError(f"{folder} is empty: it has no {', '.join(EXTENSIONS)} directly in it")
    return sorted(files)


def _common_side(paths: tuple[Path, ...]) -> int:
    sizes = {decode(path).size for path in paths}
    width, height = sizes.pop()
    return width if not sizes and width == height <= SMALL else LARGE


def _split(paths: tuple[Path, ...], y: Tensor, size: tuple[int, int], channels: int) -> Split:
    height, width = size
    if max(size) > SMALL:
        return Files(paths, y, size, channels)
    x = torch.empty(len(paths), height, width, channels, dtype=torch.uint8)
    for row, path in enumerate(paths):
        picture = read_picture(path, channels)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        x[row] = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(x.shape[1:])
    return Images(x, y)
