"""The frozen teacher, and unlabelled images for its terms."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from .group import Group


class Teacher(Group):
    """The frozen teacher, and unlabelled images for its terms."""

    teacher: tuple[str, ...] = Field(
        default=(),
        description="Frozen teacher: a run's folder, its deployed.safetensors, MODEL:weights=FILE, or the "
        "name of a model, which is trained once and kept in --teachers; the logits of several are averaged, "
        "and their features are those of the first.",
    )
    teacher_weights: tuple[float, ...] = Field(
        default=(),
        description="Weights of several teachers in their average, divided by their sum; by default equal.",
    )
    teacher_mean: Literal["logits", "probabilities"] = Field(
        default="logits",
        description="What is averaged of several teachers: their logits, or their probabilities at a "
        "temperature of 1.",
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
    taps: Literal["stages", "benchmark"] = Field(
        default="stages",
        description="Feature maps that terms compare, of student and teacher alike: stages, as the next "
        "stage sees them; benchmark, those of the public CIFAR-100 benchmark: the raw sums of a wide ResNet, "
        "a VGG without its first stage, FitNet's second stage of four.",
    )
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

    unlabelled_alone: bool = Field(
        default=False,
        description="Train on the images of --unlabelled alone, by terms that read no labels (with kd: "
        "--ce-weight 0); validation and test images are those of --data.",
    )

    @model_validator(mode="after")
    def _alone(self) -> Teacher:
        if self.unlabelled_alone and self.unlabelled is None:
            raise ValueError("unlabelled_alone needs the images to train on; give --unlabelled")
        if self.unlabelled_alone and self.unlabelled_share != 1.0:
            raise ValueError(
                f"unlabelled_share {self.unlabelled_share} mixes labelled and unlabelled images; leave it "
                "out, or leave out unlabelled_alone"
            )
        return self

    @field_validator("teacher", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _average(self) -> Teacher:
        count, weights = len(self.teacher), self.teacher_weights
        if weights and (len(weights) != count or min(weights) <= 0):
            raise ValueError(
                f"teacher_weights gives each teacher a weight above 0; got {len(weights)} for {count} "
                f"teachers: {', '.join(map(str, weights))}"
            )
        if self.teacher_mean != "logits" and count < 2:
            raise ValueError(f"teacher_mean {self.teacher_mean} is of several teachers, got {count}")
        return self
