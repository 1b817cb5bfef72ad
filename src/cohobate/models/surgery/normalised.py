"""Shows its input to a network as the network knows it: in another size, normalised by another mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core import Classifier, Output, as_output, names_of, refuse_wrapped, resized
from .adapt import Adapted

Channels = tuple[float, ...]
Statistics = tuple[Channels, Channels]
"""Mean and standard deviation of each channel, in units of 0 to 1."""


class Renormalised(nn.Module):
    """``network`` behind a change of normalisation and size: (x * std + mean - their_mean) / their_std.

    Images are resized on their device, bilinearly and against aliasing, to exactly the size given; logits of
    every pixel are resized back, bilinearly. Grey ones, of one channel, become as many equal channels as
    ``theirs`` has.

    Args:
        network: images -> Output or logits.
        ours: statistics by which its input is normalised; None: not known yet (:meth:`given`).
        theirs: statistics by which its training images were normalised; None: the same as ours.
        size: (height, width) of its training images in pixels; None: that of the input.
        class_names: of its outputs, where they are known.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        ours: Statistics | None,
        theirs: Statistics | None,
        size: tuple[int, int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.theirs, self.size = theirs, size
        self.class_names = names_of(network) if class_names is None else tuple(class_names)
        self.known = False
        for name in ("scale", "shift"):
            self.register_buffer(name, torch.zeros(()), persistent=False)
        if ours is not None:
            self.given(ours)

    def given(self, ours: Statistics) -> None:
        """Set the statistics by which the input is normalised."""
        self.known = True
        if self.theirs is not None:
            (mean, std), (their_mean, their_std) = (
                torch.tensor(s, dtype=torch.float64, device="cpu")[..., None, None]
                for s in (ours, self.theirs)
            )
            self.scale = (std / their_std).float().to(self.scale.device)
            self.shift = ((mean - their_mean) / their_std).float().to(self.shift.device)

    def forward(self, x: Tensor) -> Output:
        size = x.shape[2:]
        if self.size is not None and x.shape[2:] != self.size:
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False)
        if self.theirs is not None:
            if not self.known:
                raise ValueError(
                    "the teacher has a mean and deviation of its own, but nobody said by which its input is "
                    "normalised: cohobate.fit and make_terms know it of their data; in a loop of your own, "
                    "cohobate.teacher(..., images=(mean, std))"
                )
            x = x * self.scale + self.shift
        output = as_output(self.network(x))
        return output._replace(logits=resized(output.logits, size)) if output.logits.dim() == 4 else output


def teacher(
    network: nn.Module,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    images: Statistics | None = None,
) -> nn.Module:
    """A teacher that sees its images as in its own training: a network for the place of any teacher.

    Args:
        network: images -> Output or logits; :func:`cohobate.adapt` gives it features.
        mean: of each channel of its training images, in units of 0 to 1; by default it shares the student's
            normalisation.
        std: their standard deviation, with ``mean``.
        size: side of its training images in pixels, or (height, width); by default it shares the student's.
            Images are resized on their device, to exactly this size.
        classes: names of its classes, in the order of its outputs: :func:`cohobate.fit` matches them with
            those of its data.
        images: mean and standard deviation by which its input is normalised. :func:`cohobate.fit` and
            :func:`cohobate.make_terms` set those of their data; a loop of your own gives them here.

    Raises:
        ValueError: a mean without a std, or of another length; a std or size that is not above 0; a network
            that is wrapped by DataParallel.
    """
    refuse_wrapped(network)
    if (mean is None) != (std is None) or (mean and std and len(mean) != len(std)):
        raise ValueError(f"mean and std belong together, a number for each channel; got {mean} and {std}")
    if std is not None and min(std) <= 0:
        raise ValueError(f"std must be above 0, got {std}")
    height, width = (size, size) if size is None or isinstance(size, int) else size
    if (height is not None and height < 1) or (width is not None and width < 1):
        raise ValueError(f"size must be at least 1, got {size}")
    theirs = None if mean is None or std is None else (tuple(mean), tuple(std))
    pixels = None if height is None or width is None else (height, width)
    names = names_of(network) if classes is None else classes
    network = network.network if isinstance(network, Classifier) else network
    return Renormalised(network, images, theirs, pixels, names)


def pretrained_for(network: nn.Module, classes: int) -> Statistics | None:
    """The statistics by which the input of a library's pretrained network must be normalised.

    None for another number of classes: its classifier is new then, and not trained yet.
    """
    if not isinstance(network, Adapted):
        return None
    wanted: Any = getattr(network.network, "pretrained_cfg", {})
    if wanted.get("num_classes") != classes or "mean" not in wanted:
        return None
    return tuple(wanted["mean"]), tuple(wanted["std"])
