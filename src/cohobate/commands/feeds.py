"""Makes the loaders of the engine from a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..config.groups import Settings
from ..core import Frozen, Loader, Method, Shape, Task, Term, as_output
from ..data.augment.autoaugment import PolicyName
from ..data.augment.labels import Smoothed, Weighted, class_weights
from ..data.augment.mixing import Mixed
from ..data.dataset import Dataset, Split, labelled
from ..data.loaders import eval_loader, train_loader
from ..data.order import own_seed
from ..data.taught import Taught, obstacle
from ..data.unlabelled import WithUnlabelled, fitting
from ..engine import distributed
from ..engine.evaluate import Measures, autocast, evaluating
from ..engine.feeds import Feeds
from ..engine.measures.classification import CLASSIFICATION
from ..engine.measures.segmentation import SEGMENTATION

MEASURES: dict[Task, Measures] = {"classification": CLASSIFICATION, "segmentation": SEGMENTATION}
"""How the predictions of a task are measured."""

PIXELS = 2**20
"""Pixels of a batch of evaluation, where each has a class, at most."""
LOGITS = 2**25
"""Logits of pixels that are in memory at once, at most: 128 MiB in float32, for each read-out."""


def make_feeds(
    dataset: Dataset,
    device: torch.device,
    workers: int,
    *,
    augmentations: int | None = None,
    autoaugment: PolicyName = "none",
    cutout: int = 0,
    balanced: bool = False,
    cache_teacher: Literal["auto", "on", "off"] = "auto",
    unlabelled: Split | None = None,
    unlabelled_share: float = 1.0,
    unlabelled_alone: bool = False,
) -> Feeds:
    """Loaders over the splits, each process its share.

    Stored logits and unlabelled images are used in phases whose method has a frozen teacher only, not in
    the phase that trains the teacher.

    Args:
        dataset: the labelled images.
        device: of the batches.
        workers: processes that decode files.
        augmentations, autoaugment, cutout, balanced: see :func:`cohobate.data.loaders.train_loader`.
        cache_teacher: whether the teacher's logits are computed once for each version of an image;
            auto: where that is possible.
        unlabelled: images mixed in for the teacher's terms (:func:`cohobate.data.unlabelled.unlabelled`).
        unlabelled_share: how many of them for each labelled image of a batch.
        unlabelled_alone: whether they are the only training images of every phase.

    Raises:
        ValueError: raised by ``train`` if the options do not fit the method of the phase.
    """

    beside = None if unlabelled_alone else unlabelled
    shown = dataset
    if unlabelled is not None and unlabelled_alone:
        shown = replace(dataset, train=fitting(unlabelled, dataset))

    def train(method: Method, settings: Settings) -> Loader:
        if unlabelled_alone:
            refuse_labels(method)
            refuse_unlabelled(method, settings)
        require_memory(method, len(shown.train))
        options: dict[str, Any] = {
            "device": device,
            "rank": distributed.rank(),
            "world": distributed.world(),
            "workers": workers,
            "second_view": method.second_view,
            "augmentations": augmentations,
            "autoaugment": autoaugment,
            "cutout": cutout,
        }
        own = train_loader(
            shown,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            seed=settings.seed,
            balanced=balanced,
            **options,
        )
        loader: Loader = own
        if any(isinstance(module, Frozen) for module in method.modules()):
            shape = len(shown.train), len(dataset.classes)
            of_pixels = dataset.task == "segmentation"
            why_not = obstacle(
                method, augmentations, shape, beside is not None, settings.mixing, of_pixels=of_pixels
            )
            teacher = chosen_teacher(method, cache_teacher, why_not)
            if teacher is not None:
                loader = Taught(
                    own,
                    logits_of(teacher, device, settings),
                    shape,
                    device,
                    batch_size=settings.batch_size // settings.accumulate // distributed.world(),
                    rank=distributed.rank(),
                    world=distributed.world(),
                    total=distributed.total,
                )
            if beside is not None:
                refuse_unlabelled(method, settings)
                others = replace(dataset, train=fitting(beside, dataset))
                size = unlabelled_batch(len(others.train), unlabelled_share, settings)
                seed = own_seed(settings.seed)
                loader = WithUnlabelled(loader, train_loader(others, batch_size=size, seed=seed, **options))
        return with_labels(loader, settings, dataset, device)

    measured = partial(split_loader, dataset=dataset, device=device, workers=workers)
    return Feeds(
        train=train,
        measures=MEASURES[dataset.task],
        val=None if dataset.val is None else measured(dataset.val),
        test=None if dataset.test is None else cache(lambda: measured(dataset.test())),  # type: ignore[misc]
        plain_train=cache(lambda: measured(dataset.train)),
    )


def require_memory(method: Method, images: int) -> None:
    """Raise a ValueError if a term's memory bank is for another number of images than the run has."""
    for term in method.modules():
        if isinstance(term, Term) and term.remembers not in (None, images):
            raise ValueError(
                f"{type(term).__name__} was made for {term.remembers} training images, the run has {images}; "
                "hold out the validation split first (cohobate.hold_out), and make the term from the data "
                "that this returns"
            )


def chosen_teacher(method: Method, cache_teacher: str, why_not: str | None) -> Frozen | None:
    """The teacher whose logits are stored, or None.

    Raises:
        ValueError: ``cache_teacher`` is "on", but the logits cannot be stored.
    """
    if cache_teacher == "on" and why_not is not None:
        raise ValueError(f"--cache-teacher on is not possible: {why_not}")
    return method.reads_logits_of if cache_teacher != "off" and why_not is None else None


def logits_of(teacher: Frozen, device: torch.device, settings: Settings) -> Callable[[Tensor], Tensor]:
    """Images -> the logits of a teacher, float32, computed as a step computes them."""

    def logits(x: Tensor) -> Tensor:
        if settings.layout == "contiguous":
            x = x.contiguous()
        with autocast(device, settings.precision):
            return teacher(x).logits.float()  # type: ignore[no-any-return]

    return logits


def refuse_labels(method: Method) -> None:
    """Raise a ValueError if a method reads labels, so that it cannot learn from unlabelled images alone."""
    if method.label_readers:
        raise ValueError(
            f"unlabelled_alone trains on images without labels, and {', '.join(method.label_readers)} of "
            f"{type(method).__name__} reads them; set the weight of the cross-entropy to 0 (--ce-weight 0) "
            "if it is above, leave out terms and methods that read labels, or leave out --unlabelled-alone "
            "(a term of your own that reads none says so: reads_labels = False)"
        )


def refuse_unlabelled(method: Method, settings: Settings) -> None:
    """Raise a ValueError if a method, or its labels, cannot be used with unlabelled images."""
    if method.second_view == "classmate":
        raise ValueError(
            f"{type(method).__name__} pairs the images of a class, and unlabelled ones have none; "
            "leave out --unlabelled"
        )
    if settings.label_smoothing:
        raise ValueError(
            f"label_smoothing {settings.label_smoothing} turns labels into probabilities, and unlabelled "
            "images have none; set it to 0, or leave out --unlabelled"
        )
    if settings.class_weights is not None:
        raise ValueError(
            "class_weights turns labels into weights, and unlabelled images have none; leave it out, or "
            "leave out --unlabelled"
        )
    if settings.mixing != "none":
        raise ValueError(
            f"mixing {settings.mixing} mixes labels in pairs, and unlabelled images have none; set it to "
            "none, or leave out --unlabelled"
        )


def unlabelled_batch(images: int, share: float, settings: Settings) -> int:
    """Unlabelled images of a micro-batch over all ranks: ``share`` of the labelled, rounded on each.

    Raises:
        ValueError: that is none, or more than there are.
    """
    world = distributed.world()
    labelled = settings.batch_size // settings.accumulate // world
    count = round(share * labelled)
    if count < 1:
        raise ValueError(
            f"unlabelled_share {share} of {labelled} images is none; give at least {1 / labelled:.3g}"
        )
    if count * world > images:
        raise ValueError(
            f"unlabelled_share {share} needs {count * world} unlabelled images in a batch, there are "
            f"{images}; give more, or a smaller share"
        )
    return count * world


def measured_at_once(task: Task, shape: Shape, classes: int) -> int:
    """Images of a batch of evaluation: 500; where every pixel has a class, as many as memory is meant for.

    That is as many as have a million pixels, and 33 million logits, which bind above 32 classes.

    Args:
        task: of the network.
        shape: (C, H, W) of an image.
        classes: K.
    """
    if task == "classification":
        return 500
    _, height, width = shape
    return max(1, min(PIXELS, LOGITS // classes) // (height * width))


def split_loader(split: Split, dataset: Dataset, device: torch.device, workers: int) -> Loader:
    """The images of a split in order, each process its share of the batches."""
    world = distributed.world()
    at_once = measured_at_once(dataset.task, dataset.shape, len(dataset.classes))
    return eval_loader(
        split,
        dataset,
        batch_size=min(at_once, math.ceil(len(split) / world)),
        device=device,
        rank=distributed.rank(),
        world=world,
        workers=workers,
    )


def all_logits(
    network: nn.Module, split: Split, dataset: Dataset, device: torch.device, workers: int
) -> Tensor:
    """The logits of a network in evaluation mode for every image of a split, in order.

    Every process computes all of them, in float32 whatever the precision of the run: so all know the same.

    Returns:
        (N, K), float32, on the CPU.
    """
    loader = eval_loader(split, dataset, batch_size=min(500, len(split)), device=device, workers=workers)
    network.to(device)
    with evaluating(network):
        return torch.cat([as_output(network(batch.x)).logits.float().cpu() for batch in loader.epoch(0)])


def with_labels(loader: Loader, settings: Settings, dataset: Dataset, device: torch.device) -> Loader:
    """The labels as the settings have them: smoothed first, then mixed, then weighted, if any of these."""
    classes = len(dataset.classes)
    if settings.label_smoothing:
        labelled(dataset.train, f"label_smoothing {settings.label_smoothing}")
        loader = Smoothed(loader, settings.label_smoothing, classes)
    if settings.mixing != "none":
        labelled(dataset.train, f"mixing {settings.mixing}")
        loader = Mixed(
            loader,
            settings.mixing,
            classes,
            seed=settings.seed,
            rank=distributed.rank(),
            alpha=settings.mixing_alpha,
            share=settings.mixing_share,
        )
    if settings.class_weights is not None:
        y = labelled(dataset.train, "class_weights").y
        weights = class_weights(settings.class_weights, y, classes)
        loader = Weighted(loader, weights.to(device))
    return loader
