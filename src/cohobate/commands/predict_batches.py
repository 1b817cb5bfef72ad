"""What a network answers to images, batch by batch: logits, and the likeliest classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from ..config.words import count
from ..core import Shape, Task
from ..data.decoded import Portion, Size
from ..engine.errors import RunError
from .feeds import measured_at_once
from .ready import Answers, ReadyNetwork

BATCH = 500
"""Images of a batch, as ``cohobate evaluate`` has them; fewer of very large ones."""
MEMORY = 2**29
"""Bytes that the images of a batch take as float32, at most: 500 of 299 x 299 pixels in RGB."""

Batches = Iterable[Portion]
"""Images, their pixels uint8 (B, H, W, C)."""


class Answered(NamedTuple):
    """A batch of answers.

    Attributes:
        rows: numbers of the images.
        logits: (B, K) or (B, K, H, W), float32, on the CPU.
        stages: as :class:`cohobate.commands.ready.Answers` has them.
        sizes: (height, width) of the pictures themselves.
    """

    rows: list[int]
    logits: Tensor
    stages: Tensor | None
    sizes: list[Size]


class Ranked(NamedTuple):
    """The likeliest classes of each image of a batch.

    Attributes:
        classes: (B, k), int64, the likeliest first.
        probabilities: (B, k), float64: the softmax of the logits.
    """

    classes: Tensor
    probabilities: Tensor


def batch_size_for(shape: Shape, task: Task, classes: int) -> int:
    """Images of a batch of this shape; where every pixel has a class, as many as in evaluation."""
    channels, height, width = shape
    most = BATCH if task == "classification" else measured_at_once(task, shape, classes)
    return max(1, min(most, MEMORY // (4 * channels * height * width)))


def answered(
    answers: Callable[[Tensor], Answers], batches: Batches, name: Callable[[int], str]
) -> Iterator[Answered]:
    """The answers to each batch.

    Args:
        answers: images as bytes, (B, C, H, W), or as the batches have them -> what the network says.
        batches: of images.
        name: of an image, for messages.

    Raises:
        RunError: logits that are not finite.
    """
    for rows, pixels, sizes in batches:
        logits, stages = answers(pixels)
        finite = logits.isfinite().flatten(1).all(dim=1)
        if not finite.all():
            first = rows[int((~finite).nonzero()[0])]
            raise RunError(
                f"the logits of {name(first)} are not finite: the network has diverged; train the run again "
                "with a lower lr, or with clip"
            )
        yield Answered(rows, logits, stages, sizes)


def ranked(logits: Tensor, top_k: int) -> Ranked:
    """The ``top_k`` likeliest classes, as evaluation ranks them."""
    wide = logits.double()
    classes = wide.topk(top_k, dim=1).indices
    return Ranked(classes, wide.softmax(dim=1).gather(1, classes))


def check_top_k(top_k: int, classes: Sequence[object], name: str) -> None:
    """Raise a ValueError if there are not so many classes."""
    if not 1 <= top_k <= len(classes):
        raise ValueError(
            f"top_k must be 1 to {len(classes)}, got {top_k}: {name} predicts {count(len(classes), 'class')}"
        )


def refuse_stage(ready: ReadyNetwork) -> None:
    """Raise a ValueError if it is one network of a cascade, whose logits are only a summand."""
    if ready.about.stage is not None:
        number, networks = ready.about.stage
        raise ValueError(
            f"{ready.name} is network {number} of the {networks} of a cascade, whose logits are summed, and "
            "alone predicts nothing; give the run, with --adaptive, or use cascade.py, which lies beside it"
        )


def nothing_readable(pictures: int, why: str) -> RunError:
    """None of so many pictures could be read; the reason of the first."""
    which = "the image cannot" if pictures == 1 else f"none of the {pictures:,} images can"
    return RunError(f"{which} be read: {why}")
