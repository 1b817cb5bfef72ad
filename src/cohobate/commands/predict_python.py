"""``cohobate.predict``: what a network says of images, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config.one_of import check_word
from ..config.text import shown
from ..config.words import count
from ..data.pictures import Reading
from .predict_batches import Answered, answered, check_top_k, nothing_readable, ranked, refuse_stage
from .predict_images import (
    How,
    Name,
    Place,
    Shown,
    Skipped,
    Task,
    refuse,
    task_of_module,
    task_of_ready,
    text_of,
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
    top_k: int = 1,
    batch_size: int | None = None,
    workers: int = 0,
    device: str | None = None,
    weights: Weights = "last",
    adaptive: bool = False,
    strict: bool = False,
) -> Predictions:
    """The classes of images, by a run, an exported file, or a network in hand.

    Images are files, folders (with all below them) or pictures of Pillow, of any size, which are
    read as those of the training were; or bytes, uint8 (N, H, W, C), of the network's own size; or, for a
    network in hand, images that are normalised already, floating (N, C, H, W).

    A run or a file knows its classes, size and normalisation. To a network in hand they are given: mean and
    std for bytes, size too for pictures; nothing for images that are normalised. It computes where it is,
    and stays in the mode that it is in.

    Args:
        network: the folder of a run, a file ``deployed.safetensors``, ``model.safetensors`` or
            ``model.onnx``, or a module: images -> logits (B, K) or an Output.
        images: as above.
        classes: of a module, names in the order of its logits; by default its ``class_names``, else numbers.
        mean, std: of a module's images, for each channel, in units of 0 to 1.
        size: of a module's images in pixels: a side, or (height, width).
        reading: how pictures become images of a module; by default :class:`Reading`'s own.
        top_k: classes of each image.
        batch_size: images that are computed at a time; by default 500, as evaluation has, fewer of more than
            299 x 299 pixels.
        workers: processes that decode pictures; 0: this one.
        device: of a run or file; by default that of the run, and of a file a GPU if there is one.
        weights: of a run, those of the last epoch, or of the best one on the validation split.
        adaptive: let images leave a run's deployed sum early, by its stored threshold.
        strict: raise an error at the first picture that cannot be read; else it is in ``skipped``.

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
        task = task_of_module(module, images, how)
        names, whose = module.classes, module.name
    else:
        refuse(known._asdict(), "a network in hand", f"{shown(Path(network))}, which says it itself")
        ready = ready_network(Path(network), weights=weights, device=device, adaptive=adaptive)
        refuse_stage(ready)
        check_top_k(top_k, ready.about.classes, ready.name)
        task = task_of_ready(ready, images, how)
        names, whose = ready.about.classes, ready.name
    return _collected(task, names, whose, top_k)


def _collected(task: Task, classes: Sequence[str] | None, whose: str, top_k: int) -> Predictions:
    found: list[Answered] = []
    for each in answered(task.answers, task.batches, lambda row: text_of(task.names[row])):
        if not found:
            predicted = each.logits.shape[1]
            classes = [str(k) for k in range(predicted)] if classes is None else classes
            if len(classes) != predicted:
                raise ValueError(f"{whose} predicts {count(predicted, 'class')}, {len(classes)} are named")
            check_top_k(top_k, classes, whose)
        found.append(each)
    if not found or classes is None:
        name, why = task.skipped[0]
        raise nothing_readable(len(task.skipped), f"{text_of(name)}: {why}")
    logits = torch.cat([each.logits for each in found])
    stages = [each.stages for each in found if each.stages is not None]
    best = ranked(logits, top_k)
    return Predictions(
        names=tuple(task.names[row] for each in found for row in each.rows),
        labels=tuple(tuple(classes[k] for k in row) for row in best.classes.tolist()),
        probabilities=best.probabilities,
        logits=logits,
        stages=torch.cat(stages) if stages else None,
        skipped=tuple(task.skipped),
        notes=task.notes,
    )
