"""Reads the images of a run as its options say: labelled, divided, and the unlabelled ones beside them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..config.groups import Training
from ..data.augment.crops import RESIZED, with_crops, with_scale
from ..data.dataset import Dataset, Split, hold_out, limit
from ..data.pictures import Reading
from ..data.reader import Care
from ..data.sources import are_pictures, load_data
from ..data.unlabelled import fitting
from ..data.unlabelled import unlabelled as unlabelled_images

PATIENCE = 5.0
"""Seconds between two lines on a check that takes long."""


def read_data(config: Training, say: Callable[[str], None] = lambda message: None) -> Dataset:
    """The data set of a run: read, held out from, limited, in this order.

    Args:
        config: of the run.
        say: prints a line now and then if a check of many files takes long.
    """
    # Where the images are no pictures in files, these options can be meant for unlabelled ones that are.
    folder = config.unlabelled is None or are_pictures(config.data, config.data_root)
    dataset = load_data(
        config.data,
        config.data_root,
        config.image_size,
        config.channels,
        reading=reading_of(config) if folder else None,
        care=care_of(config, say) if folder else None,
        in_memory=config.crop != RESIZED,
    )
    return divide(dataset, config)


def reading_of(config: Training) -> Reading:
    """How the pictures of a folder are read in a run."""
    return Reading(config.fit, config.background, eval_resize=config.eval_resize)


def care_of(config: Training, say: Callable[[str], None]) -> Care:
    """What a run does about files that cannot be read."""
    said = time.monotonic()

    def progress(done: int, files: int) -> None:
        nonlocal said
        if done < files and time.monotonic() - said >= PATIENCE:
            said = time.monotonic()
            say(f"looking at the images: {done:,} of {files:,} (--no-check begins without)")

    return Care(config.check, config.skip_unreadable, progress)


def without_check(config: Training) -> Training:
    """For images that were checked before: only the files that were skipped are looked for again."""
    return config.model_copy(update={"check": config.skip_unreadable})


def divide(dataset: Dataset, config: Training) -> Dataset:
    """Hold out the validation split, keep as many training images as were asked for, augment them as told."""
    dataset = hold_out(dataset, config.val_fraction, config.split_seed)
    if config.train_images is not None:
        dataset = limit(dataset, config.train_images, config.split_seed)
    return with_scale(with_crops(dataset, config.crop, config.flip), config.random_scale)


def extra_images(dataset: Dataset, config: Training) -> tuple[Split | None, tuple[str, ...]]:
    """The unlabelled images of a run, if it has any, and remarks; of its own data, those not held out."""
    reading, care = reading_of(config), care_of(config, lambda message: None)
    if config.unlabelled is None:
        return None, ()
    if config.unlabelled == config.data:
        again = without_check(config).model_copy(update={"train_images": None, "unlabelled": None})
        return fitting(read_data(again).train, dataset), ()
    in_memory = config.crop != RESIZED
    return unlabelled_images(
        config.unlabelled, config.data_root, dataset, reading=reading, care=care, in_memory=in_memory
    )
