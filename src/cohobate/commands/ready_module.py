"""A network that a program has in its hands, and what is known of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..config.sizes import shown_size
from ..config.words import count
from ..core import Shape, Task, names_of
from ..data.pictures import Reading
from ..engine.evaluate import evaluating
from .ready import Answers
from .ready_torch import answered, normalising

Size = int | tuple[int, int]


class Known(NamedTuple):
    """What the caller knows of a module; None: nothing.

    Attributes:
        classes: names, in the order of the logits.
        mean, std: of each channel, in units of 0 to 1.
        size: of its images in pixels, a side or (height, width).
        reading: how a picture of any size becomes such an image.
    """

    classes: Sequence[str] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    size: Size | None = None
    reading: Reading | None = None

    def given(self) -> list[str]:
        """Names of what is known."""
        return [name for name, value in self._asdict().items() if value is not None]


class Module:
    """A module that answers to images, in evaluation mode and without a gradient, on its own device.

    Args:
        network: images (B, C, H, W) -> logits (B, K) or (B, K, H, W), or an Output; it stays in the mode
            that it is in.
        known: what the caller knows of it.

    Raises:
        ValueError: a mean without a deviation, of other channels, or a deviation that is not above 0.
    """

    def __init__(self, network: nn.Module, known: Known) -> None:
        self.network, self.known = network, known
        some = next(network.parameters(), torch.empty(0))
        self.device, self.dtype = some.device, some.dtype
        self.name = type(network).__name__
        if (known.mean is None) != (known.std is None):
            raise ValueError(f"mean {known.mean} and std {known.std} go together: give both")
        if len(self.mean) != len(self.std) or not all(each > 0 for each in self.std):
            raise ValueError(
                f"mean {self.mean} and std {self.std} must have a number for each channel, and those of std "
                "must be above 0"
            )

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of its classes: those given, else its own, ``class_names``."""
        return names_of(self.network) if self.known.classes is None else tuple(self.known.classes)

    def require(self, *names: str) -> None:
        """Raise a ValueError unless this much is known of it."""
        missing = [name for name in names if getattr(self.known, name) is None]
        if missing:
            raise ValueError(
                f"such images need to be read and normalised as those that {self.name} learned from: give "
                f"{', '.join(missing)}; or the path of its run or file, which say it; or images that are "
                "normalised already, (B, C, H, W), floating"
            )

    @property
    def channels(self) -> int:
        """Of its images, where their normalisation is known."""
        return len(self.known.mean or ())

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its images.

        Raises:
            ValueError: it is below 1, or no such number.
        """
        size = self.known.size or 0
        # NumPy's numbers are no int.
        sides = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(sides) != 2 or not all(isinstance(side, Integral) for side in sides):
            raise ValueError(f"size is a whole number of pixels, or (height, width), got {size!r}")
        if min(sides) < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        return int(sides[0]), int(sides[1])

    @property
    def reading(self) -> Reading:
        """How a picture becomes an image.

        Raises:
            ValueError: it is for another number of channels.
        """
        reading = self.known.reading or Reading(channels=self.channels)
        if reading.channels != self.channels:
            raise ValueError(
                f"mean has {count(self.channels, 'number')} and the reading "
                f"{count(reading.channels, 'channel')}; give as many"
            )
        return reading

    def normalised(self, images: Tensor) -> Answers:
        """Normalised images, floating (B, C, H, W) -> what it says of them."""
        return self._answers(images.to(self.device, self.dtype))

    def answers_of_bytes(self, width: int) -> Callable[[Tensor], Answers]:
        """Images as bytes of this width, uint8 (B, C, H, W) -> what it says of them."""
        normalised = normalising(self, width, self.device)
        return lambda pixels: self.normalised(normalised(pixels))

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(self.known.mean or ())

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(self.known.std or ())

    def _answers(self, x: Tensor) -> Answers:
        with evaluating(self.network):
            found = answered(self.network, x)
        shape = tuple(found.logits.shape)
        if len(shape) != 2 and (len(shape) != 4 or shape[2:] != x.shape[2:]):
            raise ValueError(
                f"{self.name} gives logits of shape {shape} for {count(len(x), 'image')} of "
                f"{shown_size((x.shape[2], x.shape[3]))} pixels: classes of images, (B, K), can be "
                "predicted, or of their pixels, (B, K, H, W) at the size of the images"
            )
        return found

    def predicts(self, shape: Shape) -> tuple[Task, int]:
        """What it predicts, and of how many classes: images of zeros, (C, H, W), are shown to it.

        Raises:
            ValueError: it gives neither classes of images nor of their pixels.
        """
        logits = self.normalised(torch.zeros(1, *shape)).logits
        return "classification" if logits.ndim == 2 else "segmentation", logits.shape[1]
