"""What every recipe shares: the images, the network, and how it is trained. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import Field, field_validator

from .settings import PASSING, Settings


class Training(Settings):
    """The options of every run."""

    model: str = Field(
        default="resnet8",
        description="A name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function; "
        "options follow: resnet20:shortcut=padding, timm:resnet18:pretrained, NAME:weights=FILE.",
    )
    teacher: tuple[str, ...] = Field(
        default=(),
        description="A run folder, its deployed.safetensors, MODEL:weights=FILE, or a model, which is "
        "trained once and kept; of several the logits are averaged.",
    )
    teacher_epochs: int | None = Field(
        default=None, ge=1, description="Of a teacher that is trained here; by default as the student's."
    )
    teacher_lr: float | None = Field(
        default=None, gt=0, description="Of a teacher that is trained here; by default as the student's."
    )
    teacher_seed: int = Field(default=0, ge=0, description="Of a teacher that is trained here.")
    teachers: Path = Field(default=Path("runs/teachers"), description="Where trained teachers are kept.")
    init: Path | None = Field(default=None, description="A file of weights to begin from.")
    data: str = Field(default="digits", description="A name (`cohobate list data`), or a folder of images.")
    data_root: Path = Field(default=Path("data"), description="Where data sets lie.")
    image_size: int | None = Field(default=None, ge=1, description="Side of the images of a folder, pixels.")
    train_images: int | None = Field(default=None, ge=1, description="Train on so many images (stratified).")
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the training images held out, unless the data has a val split."
    )
    split_seed: int = Field(default=0, ge=0, description="Of the hold-out and of train_images.")
    workers: int = Field(default=2, ge=0, description="Processes that decode large images.")
    augmentations: int | None = Field(
        default=None,
        ge=0,
        description="Different crops of each image: epochs repeat them after so many, 0 crops none; by "
        "default every epoch draws its own.",
    )
    autoaugment: Literal["none", "cifar", "imagenet", "svhn"] = Field(
        default="none", description="Policy of AutoAugment, after crop and flip."
    )
    cutout: int = Field(
        default=0, ge=0, description="Side of the square of zeros in each training image, pixels; 0: none."
    )
    cache_teacher: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Keep the teacher's logits instead of computing them again; auto: where images repeat "
        "(--augmentations) and nothing but logits is read.",
    )
    unlabelled: str | None = Field(
        default=None,
        description="Images without labels for the teacher's terms: a name, or any folder of images.",
    )
    unlabelled_share: float = Field(
        default=1.0, gt=0, description="Unlabelled images in a batch, per labelled one."
    )

    @field_validator("teacher", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value


def takes_several(annotation: object) -> bool:
    """Whether an option of this type takes several values: a tuple, or one that may be None."""
    return get_origin(annotation) is tuple or any(get_origin(part) is tuple for part in get_args(annotation))


NOT_IDENTITY = PASSING | {"data_root", "workers", "teachers"}
"""Options that may differ when a run goes on."""
