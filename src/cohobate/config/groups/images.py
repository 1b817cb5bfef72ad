"""The training images and how they are augmented."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..colours import colour
from ..grammar import text
from ..sizes import ImageSize
from .group import UNSHARED, Group


class Images(Group):
    """The training images and how they are augmented."""

    data: str = Field(
        default="digits",
        description="Data set: a name (`cohobate list data`), a folder with images in train/<class>/, a "
        "folder with images/ and masks/ (a class for every pixel), a file of arrays (.npz), or hf:NAME of "
        "the Hugging Face hub (hf:./FOLDER as save_to_disk has saved it), with :CONFIG, :image=COLUMN and "
        ":label=COLUMN where they are needed.",
    )
    image_size: ImageSize = Field(
        default=None,
        description="Size in pixels of the images that the network sees: a side, or height,width; by default "
        "that of the data set, and of a folder the size that its images have if it is square and at most 64, "
        "else 224. Also HEIGHTxWIDTH, as tables have it.",
    )
    fit: Literal["crop", "pad", "squash"] = Field(
        default="crop",
        description="How pictures that are not square become images: crop cuts off what sticks out on the "
        "longer side; pad shows the whole picture on --background; squash the whole picture, its proportions "
        "lost. Only for folders.",
    )
    eval_resize: int | None = Field(
        default=None,
        ge=1,
        description="Shorter side in pixels to which a picture is resized before its middle is taken, with "
        "--fit crop, wherever it is not cropped at random: in evaluation, in prediction, and in memory; of "
        "images that are not square, the shorter side of an area of their proportions that the resized "
        "picture covers; by default 256/224 of --image-size above 64 pixels, else --image-size. Only for "
        "pictures in files.",
    )
    background: str = Field(
        default="white",
        description="Colour behind transparent pixels and beside a padded picture: white, black, grey or "
        "#rrggbb. Only for folders.",
    )
    skip_unreadable: bool = Field(
        default=False,
        description="Leave out files of a folder that cannot be decoded, and say which; to find them, every "
        "file is decoded before the training. By default they are refused.",
    )
    channels: int | None = Field(
        default=None,
        ge=1,
        description="Channels of the images, for which the network is built: 1 keeps grey images grey and "
        "turns RGB into grey; other numbers are for arrays; by default 3, grey images repeated.",
    )
    train_images: int | None = Field(
        default=None,
        ge=1,
        description="Number of training images to use, drawn from each class in proportion; by default all.",
    )
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1,
        description="Share of the training images held out for validation, if the data has no val split.",
    )
    split_seed: int = Field(
        default=0, ge=0, description="Seed of the draw of the validation images and of --train-images."
    )
    augmentations: Annotated[int | None, UNSHARED] = Field(
        default=None,
        ge=0,
        description="Number of augmented versions of each image, which the epochs show in turn; 0: images "
        "are not augmented; by default every epoch draws new versions.",
    )
    flip: bool | None = Field(
        default=None,
        description="Mirror training images at random, or not; by default as the data set has it: folders "
        "and CIFAR are mirrored, digits and arrays are not.",
    )
    crop: int | Literal["resized"] | None = Field(
        default=None,
        description="Zero pixels around a training image before its random crop; 0: no random crop; by "
        "default as the data set has it. Images of a folder that are larger than 64 pixels are cropped and "
        "resized at random instead: for them 0 takes the centre, as in evaluation, and others are refused; "
        "resized does the same at every size, with pictures in files. For images with masks 0 takes whole "
        "pictures, and nothing else can be given.",
    )
    random_scale: tuple[float, float] | None = Field(
        default=None,
        description="Smallest and largest factor of the random scale of training images with masks, of the "
        "size at which the whole picture fits; by default 0.5 and 2. Only for segmentation.",
    )
    balance: Literal["none", "sampling"] = Field(
        default="none",
        description="Balance of the classes; sampling: each epoch draws every class equally often, in as "
        "many updates; none: each image once.",
    )
    autoaugment: Literal["none", "cifar", "imagenet", "svhn"] = Field(
        default="none",
        description="Policy of AutoAugment, applied after crop and flip; none: no AutoAugment.",
    )
    cutout: int = Field(
        default=0,
        ge=0,
        description="Cutout: side in pixels of a square in each training image that is set to zero; 0: none.",
    )

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        colour(value)
        return value

    @field_validator("random_scale", mode="before")
    @classmethod
    def _is_a_range(cls, value: Any) -> Any:
        if value is not None and not (_is_several(value) and len(value) == 2 and all(map(_is_number, value))):
            given = text(tuple(value)) if _is_several(value) else value
            raise ValueError(f"give the smallest and the largest factor, as 0.5,2; got {given}")
        return value

    @field_validator("crop")
    @classmethod
    def _is_a_crop(cls, value: int | Literal["resized"] | None) -> int | Literal["resized"] | None:
        if isinstance(value, int) and value < 0:
            raise ValueError(f"give pixels, 0 or more, or resized; got {value}")
        return value

    @model_validator(mode="after")
    def _augmented(self) -> Images:
        if self.augmentations == 0 and (self.flip or self.crop):
            raise ValueError("augmentations 0 shows the images as they are; leave out flip and crop")
        if self.augmentations == 0 and self.random_scale is not None:
            raise ValueError("augmentations 0 shows the images as they are; leave out random_scale")
        return self


def _is_several(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
