"""Images as a program has them, and what answers to them: the batches of a call of ``cohobate.predict``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..config.text import shown
from ..core import Shape, Task
from ..data.decoded import Decoder, Picture, Portion, batches, chunks
from ..data.given import given
from ..data.pictures import PictureError, Reading
from ..data.views import uncut
from .predict_batches import Batches, batch_size_for
from .ready import Answers, ReadyNetwork
from .ready_module import Module

Name = str | int
"""Of an image: its path as it was given, or its number."""
Place = str | os.PathLike[str]
Shown = Place | Image.Image | Tensor | np.ndarray[Any, Any] | Sequence[Place] | Sequence[Image.Image]
"""Files and folders, pictures of Pillow, or arrays."""


class Skipped(NamedTuple):
    """An image that cannot be read.

    Attributes:
        name: of the image.
        reason: in words.
    """

    name: Name
    reason: str


class How(NamedTuple):
    """How images are read and computed.

    Attributes:
        batch_size: images of a batch; None: as many as fit.
        workers: processes that decode pictures.
        strict: raise an error at the first that cannot be read.
    """

    batch_size: int | None = None
    workers: int = 0
    strict: bool = False

    def batch_of(self, shape: Shape, task: Task, classes: int) -> int:
        """Images of this shape in a batch, for a network of this task with so many classes."""
        return self.batch_size or batch_size_for(shape, task, classes)


class Work(NamedTuple):
    """Images and what answers to them.

    Attributes:
        answers: a batch of the images -> what the network says.
        batches: of the images.
        names: of the images.
        skipped: is added to as the batches are read.
        notes: on the images.
        reading: by which pictures became images; of arrays, which are images, it changes nothing.
    """

    answers: Callable[[Tensor], Answers]
    batches: Batches
    names: Sequence[Name]
    skipped: list[Skipped]
    notes: tuple[str, ...] = ()
    reading: Reading = Reading("pad")


def refuse(given_: dict[str, Any], whose: str, not_whose: str) -> None:
    """Raise a ValueError if any of these options is given, not None."""
    if wrong := next((name for name, value in given_.items() if value is not None), None):
        raise ValueError(f"{wrong} is for {whose}, not for {not_whose}; leave it out")


def work_of_ready(ready: ReadyNetwork, images: Shown, how: How) -> Work:
    """Files, pictures or bytes for a ready network.

    Raises:
        ValueError: images of another kind or size.
        FileNotFoundError: one is not there.
    """
    shape = ready.about.shape
    size = how.batch_of(shape, ready.about.task, len(ready.about.classes))

    def answers(pixels: Tensor) -> Answers:
        return ready.answers(pixels.permute(0, 3, 1, 2))

    if isinstance(images, np.ndarray | Tensor):
        pixels = _tensor(images)
        if pixels.is_floating_point():
            raise ValueError(
                f"{ready.name} takes pictures, or bytes, uint8 (N, H, W, C), which it normalises itself; "
                "floating images that are normalised already are for a network in hand: cohobate.load"
            )
        _check_bytes(pixels, shape[0], shape[1:])
        return Work(answers, _slices(pixels, size, shape[1:]), range(len(pixels)), [])
    return _pictures(images, answers, shape, ready.reading, size, how)


def work_of_module(module: Module, images: Shown, how: How) -> Work:
    """Files, pictures, bytes or normalised images for a module.

    Raises:
        ValueError: images of another kind or size, or not enough is known to read or normalise them.
        FileNotFoundError: one is not there.
    """
    if not isinstance(images, np.ndarray | Tensor):
        module.require("mean", "std", "size")
        shape = (module.channels, *module.size)
        answer, (task, classes) = module.answers_of_bytes(shape[2]), module.predicts(shape)
        reading = uncut(module.reading) if task == "segmentation" else module.reading
        size = how.batch_of(shape, task, classes)
        return _pictures(images, lambda x: answer(x.permute(0, 3, 1, 2)), shape, reading, size, how)
    x = _tensor(images)
    if x.is_floating_point():
        beside = module.known._replace(classes=None).given()
        refuse(dict.fromkeys(beside, True), "pictures and bytes", "images that are normalised already")
        if x.ndim != 4:
            raise ValueError(f"normalised images are (N, C, H, W), got {tuple(x.shape)}")
        shape = x.shape[1], x.shape[2], x.shape[3]
        size = how.batch_of(shape, *module.predicts(shape))
        return Work(module.normalised, _slices(x, size, shape[1:]), range(len(x)), [])
    module.require("mean", "std")
    _check_bytes(x, module.channels, None if module.known.size is None else module.size)
    answer = module.answers_of_bytes(x.shape[2])
    shape = x.shape[3], x.shape[1], x.shape[2]
    size = how.batch_of(shape, *module.predicts(shape))
    return Work(lambda x: answer(x.permute(0, 3, 1, 2)), _slices(x, size, shape[1:]), range(len(x)), [])


def _tensor(images: np.ndarray[Any, Any] | Tensor) -> Tensor:
    x = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise ValueError(
            f"images are bytes, uint8 (N, H, W, C), or normalised, floating (N, C, H, W); got {x.dtype} of "
            f"{tuple(x.shape)}"
        )
    if x.ndim and not len(x):
        raise ValueError("no images: the array has none")
    return x


def _check_bytes(pixels: Tensor, channels: int, size: tuple[int, int] | None) -> None:
    if pixels.ndim != 4 or pixels.shape[3] != channels or size not in (None, tuple(pixels.shape[1:3])):
        wanted = ("N", *(size or ("H", "W")), channels)
        raise ValueError(
            f"bytes for this network are uint8 ({', '.join(map(str, wanted))}), got {tuple(pixels.shape)}; "
            "pictures of other sizes, as files or of Pillow (Image.fromarray), are brought to its size"
        )


def _slices(images: Tensor, size: int, extent: tuple[int, int]) -> Iterator[Portion]:
    for first in range(0, len(images), size):
        rows = range(first, min(first + size, len(images)))
        yield Portion(list(rows), images[first : first + size], [extent] * len(rows))


def _pictures(
    images: Any,
    answers: Callable[[Tensor], Answers],
    shape: Shape,
    reading: Reading,
    batch_size: int,
    how: How,
) -> Work:
    """Files, or pictures of Pillow."""
    each: list[Any] = [images] if isinstance(images, str | os.PathLike | Image.Image) else list(images)
    notes: tuple[str, ...] = ()
    broken: Sequence[tuple[str, str]] = ()
    pictures: Sequence[Picture] = each
    names: Sequence[Name] = range(len(each))
    if all(isinstance(image, str | os.PathLike) for image in each):
        files, broken, notes = given(each)
        pictures, names = [file.path for file in files], [file.name for file in files]
    elif not all(isinstance(image, Image.Image) for image in each):
        kinds = ", ".join(sorted({type(image).__name__ for image in each}))
        raise ValueError(
            f"images are files and folders, or pictures of Pillow, or one array of all; got a list of {kinds}"
        )
    skipped: list[Skipped] = []

    def skip(name: Name, why: str) -> None:
        if how.strict:
            raise PictureError(f"{text_of(name)} cannot be read: {why}")
        skipped.append(Skipped(name, why))

    for name, why in broken:
        skip(name, why)
    decoder = Decoder(pictures, shape[1:], reading)
    pieces = batches(chunks(decoder, how.workers), batch_size, lambda row, why: skip(names[row], why))
    return Work(answers, pieces, names, skipped, notes, reading)


def text_of(name: Name) -> str:
    """An image, for messages."""
    return shown(name) if isinstance(name, str) else f"image {name}"
