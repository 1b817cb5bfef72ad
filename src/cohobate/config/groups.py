"""What a run is told, in groups. No torch here, so that ``--help`` is quick.

The group of an option says what depends on it: all but Bookkeeping is a run's identity; a teacher that is
trained for a run shares Images, Optimisation, Numerics and Bookkeeping, but for the options marked UNSHARED.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]

UNSHARED = "unshared"
"""Marks an option that a teacher which is trained for a run does not share with its student."""


class Group(BaseModel):
    """Options that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def shared(cls) -> list[str]:
        """Options that a teacher which is trained for a run has in common with its student."""
        return [name for name, field in cls.model_fields.items() if UNSHARED not in field.metadata]


class Images(Group):
    """What is learned from."""

    data: str = Field(default="digits", description="A name (`cohobate list data`), or a folder of images.")
    image_size: int | None = Field(default=None, ge=1, description="Side of the images of a folder, pixels.")
    train_images: int | None = Field(default=None, ge=1, description="Train on so many images (stratified).")
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.1, description="Share of the training images held out, unless the data has a val split."
    )
    split_seed: int = Field(default=0, ge=0, description="Seed of the hold-out and of --train-images.")
    augmentations: Annotated[int | None, UNSHARED] = Field(
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


class Network(Group):
    """What is trained."""

    model: str = Field(
        default="resnet8",
        description="A name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function; "
        "options follow: resnet20:shortcut=padding, timm:resnet18:pretrained, NAME:weights=FILE.",
    )
    init: Path | None = Field(default=None, description="A file of weights to begin from.")


class Teacher(Group):
    """Who teaches, and what else is shown to it."""

    teacher: tuple[str, ...] = Field(
        default=(),
        description="A run folder, its deployed.safetensors, MODEL:weights=FILE, or a model, which is "
        "trained once and kept; of several the logits are averaged.",
    )
    teacher_epochs: int | None = Field(
        default=None, ge=1, description="Epochs of a teacher that is trained here; by default the student's."
    )
    teacher_lr: float | None = Field(
        default=None, gt=0, description="Learning rate of a teacher trained here; by default the student's."
    )
    teacher_seed: int = Field(default=0, ge=0, description="Seed of a teacher that is trained here.")
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


class Optimisation(Group):
    """How the weights are found. All times are shares of the run."""

    epochs: int = Field(default=30, ge=1, description="Passes over the training images.")
    batch_size: int = Field(default=128, ge=1, description="Images of one update, over all processes.")
    accumulate: int = Field(default=1, ge=1, description="Micro-batches that make up one update.")
    seed: int = Field(default=0, ge=0, description="Seed of weights, data order, augmentation and gates.")

    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="SGD with momentum, or AdamW.")
    lr: float = Field(default=0.1, gt=0, description="Learning rate at its highest.")
    momentum: Share = Field(default=0.9, description="Momentum of SGD.")
    nesterov: bool = Field(default=True, description="Nesterov's form of the momentum.")
    weight_decay: float = Field(
        default=5e-4, ge=0, description="L2 penalty (SGD) or decoupled decay (AdamW)."
    )
    clip: float | None = Field(default=None, description="Largest norm of the gradient; none: no clipping.")
    ema: Share = Field(default=0.0, description="Decay of the moving average that is deployed; 0: none.")

    schedule: Literal["step", "cosine", "power", "constant"] = Field(
        default="step", description="Shape of the learning rate."
    )
    milestones: tuple[Share, ...] = Field(default=(0.5, 0.75), description="step: where it falls.")
    step_factor: Share = Field(default=0.1, description="step: factor at each milestone.")
    power: float = Field(default=2.0, gt=0, description="power: exponent of the remaining share.")
    final: Share = Field(default=0.0, description="cosine, power: last rate as a share of the first.")
    warmup: Share = Field(default=0.0, description="Share of the run in which the rate rises from 0.")

    label_smoothing: Share = Field(default=0.0, description="Share of the label given to all classes alike.")
    mixing: Literal["none", "mixup", "cutmix"] = Field(
        default="none", description="Training images and labels mixed in pairs."
    )
    mixing_alpha: float | None = Field(
        default=None,
        gt=0,
        description="Both parameters of the Beta distribution that the mixing share is drawn from; by "
        "default 0.2 for mixup, 1 for cutmix.",
    )
    mixing_share: Share = Field(default=1.0, description="Share of the batches that are mixed.")

    @model_validator(mode="after")
    def _consistent(self) -> Optimisation:
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; add --no-nesterov")
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must rise, got {self.milestones}")
        given = {"mixing_alpha": self.mixing_alpha, "mixing_share": self.mixing_share}
        for name, value in given.items():
            if self.mixing == "none" and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} {value} needs mixing mixup or cutmix, got mixing none")
        return self


class Numerics(Group):
    """How it is computed."""

    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 ...")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="fp32", description="auto: the faster in a short probe; the choice is recorded and kept."
    )
    layout: Literal["channels_last", "contiguous"] = Field(
        default="channels_last", description="Memory layout of images and convolutions."
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="torch.compile of the whole method; auto: on a GPU, replayed as a CUDA graph.",
    )


class Bookkeeping(Group):
    """Where things lie, what is measured and kept. None of it changes a weight."""

    data_root: Path = Field(default=Path("data"), description="Where data sets lie.")
    workers: int = Field(default=2, ge=0, description="Processes that decode large images.")
    teachers: Path = Field(default=Path("runs/teachers"), description="Where trained teachers are kept.")
    keep_epochs: Annotated[tuple[int, ...], UNSHARED] = Field(
        default=(), description="Epochs whose weights are kept, for figures."
    )
    log_train: Annotated[bool, UNSHARED] = Field(
        default=False, description="Measure the training images each epoch, for figures."
    )
    log_test: Annotated[bool, UNSHARED] = Field(
        default=False, description="Measure the test set each epoch; never chooses by it."
    )
    max_minutes: float | None = Field(default=None, gt=0, description="Stop at a checkpoint after so long.")
    resume: Literal["exact", "anyway"] = Field(
        default="exact", description="anyway: go on although torch, threads or processes have changed."
    )


class Settings(Bookkeeping, Numerics, Optimisation):
    """What the engine is told."""


class Training(Settings, Teacher, Network, Images):
    """The options of every run."""


GROUPS: tuple[type[Group], ...] = (Images, Network, Teacher, Optimisation, Numerics, Bookkeeping)
"""In the order of ``--help``."""


def defaults(group: type[Group]) -> dict[str, Any]:
    """Option -> default of a group."""
    return {name: field.default for name, field in group.model_fields.items()}
