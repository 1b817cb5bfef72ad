"""What every recipe shares: the images, the network, and how it is trained. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..engine.settings import PASSING, Settings


class Training(Settings):
    """The options of every run."""

    model: str = Field(
        default="resnet8",
        description="A name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function; "
        "options follow: resnet20:shortcut=padding, timm:resnet18:pretrained, NAME:weights=FILE.",
    )
    teacher: str | None = Field(
        default=None,
        description="A run folder, its deployed.safetensors, MODEL:weights=FILE, or a model to train first.",
    )
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


NOT_IDENTITY = PASSING | {"data_root", "workers"}
"""Options that may differ when a run goes on."""
