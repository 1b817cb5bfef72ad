"""How a network is trained. No torch here, so that ``--help`` is quick."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Optimisation, precision and bookkeeping. All times are fractions of the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=30, ge=1, description="Passes over the training images.")
    batch_size: int = Field(default=128, ge=1, description="Images of one update, over all processes.")
    accumulate: int = Field(default=1, ge=1, description="Micro-batches that make up one update.")

    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="SGD with momentum, or AdamW.")
    lr: float = Field(default=0.1, gt=0, description="Learning rate at its highest.")
    momentum: Fraction = Field(default=0.9, description="Momentum of SGD.")
    nesterov: bool = Field(default=True, description="Nesterov's form of the momentum.")
    weight_decay: float = Field(
        default=5e-4, ge=0, description="L2 penalty (SGD) or decoupled decay (AdamW)."
    )
    clip: float | None = Field(default=None, description="Largest norm of the gradient; none: no clipping.")
    label_smoothing: Fraction = Field(
        default=0.0, description="Share of the label given to all classes alike."
    )
    mixing: Literal["none", "mixup", "cutmix"] = Field(
        default="none", description="Training images and labels mixed in pairs."
    )
    mixing_alpha: float | None = Field(
        default=None, gt=0, description="Of the Beta distribution of the shares; none: 0.2 mixup, 1 cutmix."
    )
    mixing_share: Fraction = Field(default=1.0, description="Share of the batches that are mixed.")
    ema: Fraction = Field(default=0.0, description="Decay of the moving average that is deployed; 0: none.")

    schedule: Literal["step", "cosine", "power", "constant"] = Field(
        default="step", description="Shape of the learning rate."
    )
    milestones: tuple[Fraction, ...] = Field(default=(0.5, 0.75), description="step: where it falls.")
    step_factor: Fraction = Field(default=0.1, description="step: factor at each milestone.")
    power: float = Field(default=2.0, gt=0, description="power: exponent of the remaining share.")
    final: Fraction = Field(default=0.0, description="cosine, power: last rate as a share of the first.")
    warmup: Fraction = Field(default=0.0, description="Share of the run in which the rate rises from 0.")

    seed: int = Field(default=0, ge=0, description="Of weights, data order, augmentation and gates.")
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

    keep_epochs: tuple[int, ...] = Field(
        default=(), description="Epochs whose weights are kept, for figures."
    )
    log_train: bool = Field(default=False, description="Measure the training images each epoch, for figures.")
    log_test: bool = Field(default=False, description="Measure the test set each epoch; never chooses by it.")
    max_minutes: float | None = Field(default=None, gt=0, description="Stop at a checkpoint after so long.")
    resume: Literal["exact", "anyway"] = Field(
        default="exact", description="anyway: go on although torch, threads or processes have changed."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; add --no-nesterov")
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones must rise, got {self.milestones}")
        given = {"mixing_alpha": self.mixing_alpha, "mixing_share": self.mixing_share}
        for name, value in given.items():
            if self.mixing == "none" and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} {value} needs mixing mixup or cutmix, got mixing none")
        return self


PASSING = frozenset({"max_minutes", "resume", "keep_epochs"})
"""Settings that do not belong to a run's identity: changing them changes no weight."""


def factor(settings: Settings, progress: float) -> float:
    """Learning rate as a share of its highest, at ``progress`` in [0, 1] of the run."""
    if progress < settings.warmup:
        return progress / settings.warmup
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "step":
        return float(settings.step_factor ** sum(progress >= m for m in settings.milestones))
    remaining = 1 - (progress - settings.warmup) / (1 - settings.warmup)
    if settings.schedule == "cosine":
        shape = 0.5 * (1 - math.cos(math.pi * remaining))
    else:
        shape = remaining**settings.power
    return settings.final + (1 - settings.final) * shape
