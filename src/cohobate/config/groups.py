"""The options of a run, in groups. No torch here, so that ``--help`` is quick.

The group of an option says what depends on it: all groups except Bookkeeping make up a run's identity; a
teacher that is trained for a run shares Images, Optimisation, Numerics and Bookkeeping with its student,
except for the options marked UNSHARED.
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
    """The training images and how they are augmented."""

    data: str = Field(
        default="digits",
        description="Data set: a name (`cohobate list data`), or a folder with images in train/<class>/.",
    )
    image_size: int | None = Field(
        default=None,
        ge=1,
        description="Side in pixels of the square images that a folder is read as; by default the size that "
        "the images have if it is square and at most 64, else 224. Only for folders.",
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
    autoaugment: Literal["none", "cifar", "imagenet", "svhn"] = Field(
        default="none",
        description="Policy of AutoAugment, applied after crop and flip; none: no AutoAugment.",
    )
    cutout: int = Field(
        default=0,
        ge=0,
        description="Cutout: side in pixels of a square in each training image that is set to zero; 0: none.",
    )


class Network(Group):
    """The network that is trained and deployed."""

    model: str = Field(
        default="resnet8",
        description="Network: a name (`cohobate list models`), timm:NAME, torchvision:NAME or "
        "file.py:function; options follow a colon: resnet20:shortcut=padding, "
        "timm:resnet18:pretrained, NAME:weights=FILE.",
    )
    init: Path | None = Field(
        default=None,
        description="File of weights (.safetensors or .pt) that the network begins from; by default the "
        "weights that --model comes with.",
    )


class Teacher(Group):
    """The frozen teacher, and unlabelled images for its terms."""

    teacher: tuple[str, ...] = Field(
        default=(),
        description="Frozen teacher: a run's folder, its deployed.safetensors, MODEL:weights=FILE, or the "
        "name of a model, which is trained once and kept in --teachers; the logits of several are averaged.",
    )
    teacher_epochs: int | None = Field(
        default=None,
        ge=1,
        description="Epochs of a teacher that is trained for this run; by default --epochs.",
    )
    teacher_lr: float | None = Field(
        default=None,
        gt=0,
        description="Learning rate of a teacher that is trained for this run; by default --lr.",
    )
    teacher_seed: int = Field(default=0, ge=0, description="Seed of a teacher that is trained for this run.")
    cache_teacher: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Store the teacher's logits instead of computing them in every epoch; auto: where "
        "--augmentations makes images repeat and the method reads only the teacher's logits.",
    )
    unlabelled: str | None = Field(
        default=None,
        description="Images without labels that are added to each batch for the teacher's terms: the name of "
        "a data set, or any folder of images; by default none.",
    )
    unlabelled_share: float = Field(
        default=1.0, gt=0, description="Number of unlabelled images in a batch for each labelled one."
    )

    @field_validator("teacher", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value


class Optimisation(Group):
    """The optimiser and its schedule. Times are shares of the run, from 0 to 1."""

    epochs: int = Field(default=30, ge=1, description="Number of passes over the training images.")
    batch_size: int = Field(
        default=128, ge=1, description="Number of images in one update, over all processes."
    )
    accumulate: int = Field(
        default=1, ge=1, description="Number of micro-batches that the batch of one update is divided into."
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Seed of the initial weights, data order, augmentation and dropped blocks.",
    )

    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="Optimiser: SGD with momentum, or AdamW."
    )
    lr: float = Field(default=0.1, gt=0, description="Highest learning rate of the schedule.")
    momentum: Share = Field(default=0.9, description="Momentum of SGD, from 0 to 1.")
    nesterov: bool = Field(default=True, description="Use Nesterov's form of the momentum of SGD.")
    weight_decay: float = Field(
        default=5e-4,
        ge=0,
        description="Weight decay: an L2 penalty with SGD, decoupled with AdamW.",
    )
    clip: float | None = Field(
        default=None, description="Largest norm of the gradient, to which it is clipped; none: no clipping."
    )
    ema: Share = Field(
        default=0.0,
        description="Decay per update of the exponential moving average of the weights, which is evaluated "
        "and deployed in their place; 0: no average.",
    )

    schedule: Literal["step", "cosine", "power", "constant"] = Field(
        default="step", description="Course of the learning rate over the run."
    )
    milestones: tuple[Share, ...] = Field(
        default=(0.5, 0.75),
        description="Shares of the run at which the step schedule lowers the learning rate.",
    )
    step_factor: Share = Field(
        default=0.1,
        description="Factor by which the step schedule multiplies the learning rate at each milestone.",
    )
    power: float = Field(
        default=2.0,
        gt=0,
        description="Exponent of the power schedule: the learning rate is lr times (share of the run that "
        "remains) ^ power.",
    )
    final: Share = Field(
        default=0.0,
        description="Learning rate at the end of the cosine and power schedules, as a share of --lr.",
    )
    warmup: Share = Field(
        default=0.0,
        description="Share of the run, at its start, over which the rate rises from 0 to --lr; 0: none.",
    )

    label_smoothing: Share = Field(
        default=0.0,
        description="Share of each label's probability that is spread evenly over all classes; 0: none.",
    )
    mixing: Literal["none", "mixup", "cutmix"] = Field(
        default="none", description="Mix pairs of training images and their labels by Mixup or CutMix."
    )
    mixing_alpha: float | None = Field(
        default=None,
        gt=0,
        description="alpha of Beta(alpha, alpha), from which the mixing ratio is drawn; by default 0.2 for "
        "mixup, 1 for cutmix.",
    )
    mixing_share: Share = Field(default=1.0, description="Share of the batches that --mixing applies to.")

    @model_validator(mode="after")
    def _consistent(self) -> Optimisation:
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; add --no-nesterov")
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must rise, got {self.milestones}")
        options = {"mixing_alpha": self.mixing_alpha, "mixing_share": self.mixing_share}
        for name, value in options.items():
            if self.mixing == "none" and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} {value} needs mixing mixup or cutmix, got mixing none")
        return self


class Numerics(Group):
    """The device and the arithmetic."""

    device: str = Field(
        default="auto", description="Device: cpu, cuda, cuda:1 ...; auto: a GPU if there is one."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="fp32",
        description="Precision of the computation; auto: the faster of the two in a short measurement, whose "
        "result is recorded with the run.",
    )
    layout: Literal["channels_last", "contiguous"] = Field(
        default="channels_last",
        description="Memory layout of the images and of the weights of convolutions.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Compile the whole method by torch.compile; auto: on a GPU only, where the step is "
        "replayed as a CUDA graph.",
    )


class Bookkeeping(Group):
    """Folders, measurements and checkpoints. None of these options changes a weight."""

    data_root: Path = Field(
        default=Path("data"), description="Folder that holds the files of the data sets that have a name."
    )
    workers: int = Field(
        default=2,
        ge=0,
        description="Number of processes that decode the images of a folder, if they are larger than 64 "
        "pixels; 0: the main process decodes them.",
    )
    teachers: Path = Field(
        default=Path("runs/teachers"),
        description="Folder in which teachers that --teacher names are kept after their training.",
    )
    keep_epochs: Annotated[tuple[int, ...], UNSHARED] = Field(
        default=(),
        description="Epochs, numbered from 1, after which a copy of the weights is kept, for `cohobate "
        "attention`; by default none.",
    )
    log_train: Annotated[bool, UNSHARED] = Field(
        default=False, description="Also measure the error on the training images after each epoch."
    )
    log_test: Annotated[bool, UNSHARED] = Field(
        default=False,
        description="Also measure the error on the test images after each epoch; nothing is chosen by it.",
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="Minutes after which the run writes a checkpoint and stops; the same command goes on "
        "from there. By default there is no limit.",
    )
    resume: Literal["exact", "anyway"] = Field(
        default="exact",
        description="Whether an interrupted run goes on if torch, the threads or the processes have changed: "
        "exact refuses, anyway goes on.",
    )


class Settings(Bookkeeping, Numerics, Optimisation):
    """The options that the training engine reads."""


class Training(Settings, Teacher, Network, Images):
    """The options of every run."""


GROUPS: tuple[type[Group], ...] = (Images, Network, Teacher, Optimisation, Numerics, Bookkeeping)
"""In the order of ``--help``."""


def defaults(group: type[Group]) -> dict[str, Any]:
    """Option -> default of a group."""
    return {name: field.default for name, field in group.model_fields.items()}
