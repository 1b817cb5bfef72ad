"""``cohobate.predict``: what a network says of images, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config.one_of import check_word
from ..config.text import shown
from ..config.words import count
from ..core import Task
from ..data.pictures import Reading
from .masks import PredictedMasks, check_masks, masks_of
from .predict_batches import Answered, answered, check_top_k, nothing_readable, ranked, refuse_stage
from .predict_images import (
    How,
    Name,
    Place,
    Shown,
    Skipped,
    Work,
    refuse,
    text_of,
    work_of_module,
    work_of_ready,
)
from .ready_module import Known, Module, Size
from .ready_opened import ready_network
from .subject import Weights


class Predictions(NamedTuple):
    """What a network says of N images.

    Attributes:
        names: of each image, its path as it was given, or its number.
        labels: of each image, its ``top_k`` likeliest classes, the likeliest first.
        probabilities: of these, (N, top_k), float64.
        logits: of all K classes, (N, K), float32, on the CPU.
        stages: of a cascade, the network after which each image left, (N,), from 0; else None.
        skipped: the images that cannot be read; they are not among the N.
        notes: remarks: files of a folder that are not read, images that were named twice.
    """

    names: tuple[Name, ...]
    labels: tuple[tuple[str, ...], ...]
    probabilities: Tensor
    logits: Tensor
    stages: Tensor | None
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]

    @property
    def label(self) -> tuple[str, ...]:
        """Of each image, its likeliest class."""
        return tuple(labels[0] for labels in self.labels)


def predict(
    network: Place | nn.Module,
    images: Shown,
    *,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Size | None = None,
    reading: Reading | None = None,
    top_k: int | None = None,
    batch_size: int | None = None,
    workers: int = 0,
    device: str | None = None,
    weights: Weights = "last",
    adaptive: bool = False,
    strict: bool = False,
) -> Predictions | PredictedMasks:
    """The classes of images, or of their pixels, by a run, an exported file, or a network in hand.

    Images are files, folders (with all below them) or pictures of Pillow, of any size, which are
    read as those of the training were; or bytes, uint8 (N, H, W, C), of the network's own size; or, for a
    network in hand, images that are normalised already, floating (N, C, H, W).

    A run or a file knows its classes, size and normalisation. To a network in hand they are given: mean and
    std for bytes, size too for pictures; nothing for images that are normalised. It computes where it is,
    and stays in the mode that it is in.

    A network that gives every pixel a class sees the whole of each picture, padded where ``fit`` is crop or
    pad, and answers with a mask of the picture's own size: the logits of the part of the image that shows the
    picture are enlarged bilinearly, and the largest is taken, as mIoU at original resolution is measured.

    Args:
        network: the folder of a run, a file ``deployed.safetensors``, ``model.safetensors`` or
            ``model.onnx``, or a module: images -> logits, (B, K) or (B, K, H, W), or an Output.
        images: as above.
        classes: of a module, names in the order of its logits; by default its ``class_names``, else numbers.
        mean, std: of a module's images, for each channel, in units of 0 to 1.
        size: of a module's images in pixels: a side, or (height, width).
        reading: how pictures become images of a module; by default :class:`Reading`'s own.
        top_k: classes of each image, by default 1; not for masks.
        batch_size: images that are computed at a time; by default as many as in evaluation: 500, fewer of
            more than 299 x 299 pixels, and for masks as many as have a million pixels,
            of more than 32 classes fewer.
        workers: processes that decode pictures; 0: this one.
        device: of a run or file; by default that of the run, and of a file a GPU if there is one.
        weights: of a run, those of the last epoch, or of the best one on the validation split.
        adaptive: let images leave a run's deployed sum early, by its stored threshold.
        strict: raise an error at the first picture that cannot be read; else it is in ``skipped``.

    Returns:
        :class:`Predictions`; of a network that gives every pixel a class :class:`PredictedMasks`.

    Raises:
        FileNotFoundError: an image, a run or a file is not there.
        ValueError: no images, of another size or kind, not enough known to read them, options that do not go
            with the network, or, with ``strict``, a picture that cannot be read.
        ImportError: onnxruntime is missing, which an ONNX file needs; the message names the extra.
        RunError: as :func:`cohobate.load`; no picture can be read, or logits are not finite.
    """
    how = How(batch_size, workers, strict)
    known = Known(classes, mean, std, size, reading)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    check_word("weights", weights, Weights)
    if isinstance(network, nn.Module):
        options = {"device": device, "weights": None if weights == "last" else weights}
        refuse({**options, "adaptive": adaptive or None}, "a run or a file", "a network in hand")
        module = Module(network, known)
        work = work_of_module(module, images, how)
        names, whose = module.classes, module.name
    else:
        refuse(known._asdict(), "a network in hand", f"{shown(Path(network))}, which says it itself")
        ready = ready_network(Path(network), weights=weights, device=device, adaptive=adaptive)
        refuse_stage(ready)
        check_options(ready.about.task, top_k, ready.about.classes, ready.name)
        work = work_of_ready(ready, images, how)
        names, whose = ready.about.classes, ready.name
    answers = answered(work.answers, work.batches, lambda row: text_of(work.names[row]))
    first = next(answers, None)
    if first is None:
        name, why = work.skipped[0]
        raise nothing_readable(len(work.skipped), f"{text_of(name)}: {why}")
    classes = _classes(names, first.logits.shape[1], whose)
    task: Task = "classification" if first.logits.ndim == 2 else "segmentation"
    check_options(task, top_k, classes, whose)
    collect = _classified if task == "classification" else _segmented
    return collect(work, chain([first], answers), classes, top_k or 1)


def check_options(task: Task, top_k: int | None, classes: Sequence[str], whose: str) -> None:
    """Raise a ValueError if the options do not go with what a network predicts."""
    if task == "classification":
        check_top_k(1 if top_k is None else top_k, classes, whose)
        return
    check_masks(classes, whose)
    if top_k is not None:
        raise ValueError(
            f"top_k is for networks that give each image a class, and {whose} gives every pixel one; leave "
            "it out"
        )


def _classes(names: Sequence[str] | None, predicted: int, whose: str) -> Sequence[str]:
    names = [str(k) for k in range(predicted)] if names is None else names
    if len(names) != predicted:
        raise ValueError(f"{whose} predicts {count(predicted, 'class')}, {len(names)} are named")
    return names


def _segmented(work: Work, answers: Iterable[Answered], classes: Sequence[str], _: int) -> PredictedMasks:
    found = [mask for each in answers for mask in masks_of(each, work.reading)]
    return PredictedMasks(
        names=tuple(work.names[mask.row] for mask in found),
        masks=tuple(mask.classes for mask in found),
        classes=tuple(classes),
        shares=torch.stack([mask.shares for mask in found]),
        skipped=tuple(work.skipped),
        notes=work.notes,
    )


def _classified(work: Work, answers: Iterable[Answered], classes: Sequence[str], top_k: int) -> Predictions:
    found = list(answers)
    logits = torch.cat([each.logits for each in found])
    stages = [each.stages for each in found if each.stages is not None]
    best = ranked(logits, top_k)
    return Predictions(
        names=tuple(work.names[row] for each in found for row in each.rows),
        labels=tuple(tuple(classes[k] for k in row) for row in best.classes.tolist()),
        probabilities=best.probabilities,
        logits=logits,
        stages=torch.cat(stages) if stages else None,
        skipped=tuple(work.skipped),
        notes=work.notes,
    )
