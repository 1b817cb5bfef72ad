"""Crops and mirror images as a run asks for them, and its whole augmentation in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal

from ...config.groups import Images as Options
from ...config.groups import Optimisation
from ...config.words import count
from ..dataset import Dataset, Images
from ..scenes import Scenes
from .mixing import ALPHA

RESIZED: Final = "resized"
"""Value of the option ``crop``: a random part of the picture, resized."""


def with_crops(dataset: Dataset, crop: int | Literal["resized"] | None, flip: bool | None) -> Dataset:
    """The data set with its training images cropped and mirrored as asked for.

    Args:
        dataset: any.
        crop: zero pixels around an image in memory before its random crop; of images that are read from
            files 0, for their centre instead of a random part, resized; ``"resized"``: for the latter; None:
            as the data set has it.
        flip: whether images are mirrored at random; None: as the data set has it.

    Raises:
        ValueError: a crop that is negative or as large as the image, one above 0 of files, or random parts,
            resized, of images in memory or with masks.
    """
    if flip is not None:
        dataset = replace(dataset, flip=flip)
    if crop is None:
        return dataset
    _, height, width = dataset.shape
    if not isinstance(dataset.train, Images):
        if crop != 0 and isinstance(dataset.train, Scenes):
            what = (
                "shows a random part of a picture, resized"
                if crop == RESIZED
                else "is the padding of images held in memory"
            )
            raise ValueError(
                f"crop {crop} {what}; those of {dataset.name} have masks and are scaled and cropped at "
                "random: give 0 to show whole pictures, or leave crop out"
            )
        if crop == RESIZED:
            return replace(dataset, resized_crop=True)
        if crop != 0:
            raise ValueError(
                f"crop {crop} is the padding of images held in memory; those of {dataset.name}, {height} x "
                f"{width} pixels, are read from files and cropped and resized at random: give 0 to show "
                "their centre, or leave crop out"
            )
        return replace(dataset, resized_crop=False)
    if crop == RESIZED:
        raise ValueError(
            f"crop resized shows random parts of pictures in files, and the images of {dataset.name} are "
            "held in memory: give the zero pixels around an image, or leave crop out"
        )
    if not 0 <= crop < min(height, width):
        raise ValueError(
            f"crop {crop} must be 0 or more and less than the shorter side of the images, {height} x {width}"
        )
    return replace(dataset, crop=crop)


def with_scale(dataset: Dataset, scale: tuple[float, float] | None) -> Dataset:
    """The data set with the random scale of its training pictures as asked for.

    Args:
        dataset: any.
        scale: smallest and largest factor (:class:`cohobate.data.scenes.Scenes`); None: as the data set has
            it. Whole pictures have the factors 1 and 1, and no others.

    Raises:
        ValueError: images without masks, other factors for whole pictures, or no such factors.
    """
    if scale is None:
        return dataset
    if not isinstance(dataset.train, Scenes):
        raise ValueError(
            f"random_scale {','.join(map(str, scale))} is for images with masks, and those of {dataset.name} "
            "have one label each; leave it out"
        )
    if not dataset.resized_crop:
        if tuple(scale) == (1, 1):
            return dataset
        raise ValueError(
            f"crop 0 shows whole pictures at the scale of evaluation, and random_scale "
            f"{','.join(f'{factor:g}' for factor in scale)} another scale of each; leave out random_scale "
            "(or give 1,1), or crop"
        )
    return replace(dataset, train=replace(dataset.train, scale=scale))


def described(dataset: Dataset, images: Options, optimisation: Optimisation) -> str:
    """The augmentation of a run in words, for its record: crops, mirror images, and what comes after them.

    Args:
        dataset: with crop and flip as the run has them (:func:`with_crops`).
        images, optimisation: options of the run.
    """
    return ", ".join([*_shown(dataset, images), *_mixed(optimisation)])


def _shown(dataset: Dataset, options: Options) -> Iterator[str]:
    if options.augmentations == 0:
        yield "none, each image as it is"
        return
    if isinstance(dataset.train, Scenes):
        low, high = dataset.train.scale
        random = f"random scale ({low:g} to {high:g}) and crops, with the masks"
        yield random if dataset.resized_crop else "whole images with their masks"
    elif not isinstance(dataset.train, Images):
        yield "random crops, resized" if dataset.resized_crop else "the centre of each image"
    else:
        yield f"random crops, {count(dataset.crop, 'pixel')} of zeros around" if dataset.crop else "no crops"
    yield "mirrored at random" if dataset.flip else "not mirrored"
    if options.autoaugment != "none":
        yield f"AutoAugment ({options.autoaugment})"
    if options.cutout:
        yield f"Cutout of {count(options.cutout, 'pixel')}"
    if options.augmentations is not None:
        yield f"{count(options.augmentations, 'version')} of each image, in turn"


def _mixed(options: Optimisation) -> Iterator[str]:
    if options.mixing != "none":
        alpha = ALPHA[options.mixing] if options.mixing_alpha is None else options.mixing_alpha
        yield f"{options.mixing} of {options.mixing_share:.0%} of the batches (alpha {alpha:g})"
