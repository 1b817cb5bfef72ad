"""The optimiser and its schedule. Times are shares of the run, from 0 to 1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .group import UNSHARED, Group, Share


class Optimisation(Group):
    """The optimiser and its schedule. Times are shares of the run, from 0 to 1."""

    epochs: int = Field(default=30, ge=1, description="Number of passes over the training images.")
    patience: Annotated[int | None, UNSHARED] = Field(
        default=None,
        ge=1,
        description="Stop a phase after this many epochs without an improvement on the validation split, of "
        "the top-1 error, or of the mIoU of segmentation. The schedule stays that of the whole run, which "
        "the stop cuts short, and a teacher that is trained for the run is trained to its end; none: no "
        "early stopping.",
    )
    batch_size: int = Field(
        default=128,
        ge=1,
        description="Number of images in one update, over all processes; the last batch of an epoch is "
        "dropped if it has fewer.",
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
    clip_value: float | None = Field(
        default=None,
        gt=0,
        description="Largest absolute value of each number of the gradient, to which it is clipped, in place "
        "of --clip; none: no clipping.",
    )
    ema: Share = Field(
        default=0.0,
        description="Decay per update of the exponential moving average of the weights, which is evaluated "
        "and deployed in their place; after t updates of a phase it is at most (1 + t) / (10 + t), so that a "
        "short run forgets its first weights too; 0: no average.",
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
    class_weights: tuple[float, ...] | Literal["balanced"] | None = Field(
        default=None,
        description="Weights of the classes in the cross-entropy, in the order of the classes, scaled to a "
        "mean of 1 over the training images; balanced: inversely proportional to a class's images; none: "
        "all alike.",
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

    @field_validator("class_weights", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        # The command line reads a list, also of this word alone.
        return value[0] if isinstance(value, tuple | list) and list(value) == ["balanced"] else value

    @model_validator(mode="after")
    def _consistent(self) -> Optimisation:
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; add --no-nesterov")
        if self.clip is not None and self.clip_value is not None:
            raise ValueError(
                f"clip {self.clip:g} limits the norm of the gradient, and clip_value "
                f"{self.clip_value:g} each of its numbers; give one of the two"
            )
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must rise, got {self.milestones}")
        options = {"mixing_alpha": self.mixing_alpha, "mixing_share": self.mixing_share}
        for name, value in options.items():
            if self.mixing == "none" and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} {value} needs mixing mixup or cutmix, got mixing none")
        return self
