"""A network in the hands of somebody who only uses it, wherever it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..config.text import shown
from ..data.pictures import Reading
from ..data.views import uncut
from ..runs.exported import About
from .subject import Opened

Kind = Literal["run", "safetensors", "onnx"]


class Answers(NamedTuple):
    """What a network says of a batch of images.

    Attributes:
        logits: (B, K), or of every pixel, (B, K, H, W); float32, on the CPU.
        stages: (B,), int64, on the CPU: the network of a cascade after which each image left, from 0; None
            where the network is no cascade.
    """

    logits: Tensor
    stages: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ReadyNetwork:
    """A network in the hands of somebody who only uses it.

    Attributes:
        path: of the folder or file that was opened.
        form: what that is.
        about: classes, shape, normalisation, and how pictures become images.
        answers: images as bytes, uint8 (B, C, H, W) in channels_last memory -> what it says of them.
        device: on which it computes.
        precision: in which it computes: fp32 or bf16.
        network: normalised images -> logits, in evaluation mode; None: of an ONNX file.
        run: that deployed it; None: of a file.
    """

    path: Path
    form: Kind
    about: About
    answers: Callable[[Tensor], Answers]
    device: torch.device
    precision: str
    network: nn.Module | None = None
    run: Opened | None = None

    @property
    def name(self) -> str:
        """As the user knows it."""
        return shown(self.path)

    @property
    def reading(self) -> Reading:
        """How a picture of any size becomes an image of this network; whole, where every pixel gets a class.

        Raises:
            ValueError: its images have another number of channels than 1 or 3, or its background is none.
        """
        try:
            about = self.about
            reading = Reading(
                about.fit, about.background, about.shape[0], about.eval_resize, about.averaged_from
            )
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return uncut(reading) if self.segments else reading

    @property
    def segments(self) -> bool:
        """Whether it gives every pixel a class."""
        return self.about.task == "segmentation"

    def logits(self, pixels: Tensor) -> Tensor:
        """Images as bytes, uint8 (B, C, H, W) in channels_last memory -> the logits of :class:`Answers`."""
        return self.answers(pixels).logits
