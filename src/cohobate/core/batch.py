"""The input of a training step: images, labels, and the progress of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

IGNORED = -100
"""Label of a position that no loss counts."""

VOID = 255
"""Value of a pixel in a mask that no loss and no measure counts; it becomes :data:`IGNORED`."""


class Truth(NamedTuple):
    """The mask of a whole picture, and where the picture is in the image that the network sees.

    Attributes:
        mask: (H_i, W_i), uint8, at the picture's own size, on the CPU; :data:`VOID` is not counted.
        box: left, top, right, bottom of the picture in the image, in pixels of that; the rest is padding.
    """

    mask: Tensor
    box: tuple[int, int, int, int]


class Batch(NamedTuple):
    """Images and labels of one step; row i of every field belongs to label ``y[i]``.

    Attributes:
        views: one or more views of the images, each (B, C, H, W); :attr:`x` is the first.
        y: integer ids, (B,) or (B, H, W), where -100 is ignored; or probabilities, (B, K), floating, which
            class weights may scale.
        index: (B,) rows of the training set, for memory banks; None once images are mixed.
        progress: () fraction of the phase that is done, 0 to 1, on the device.
        taught: (B, K) logits of the teacher, if they were computed before this step; else None.
        truths: in the evaluation of segmentation, the whole mask of each picture at its own size; else None.
    """

    views: tuple[Tensor, ...]
    y: Tensor
    index: Tensor | None = None  # type: ignore[assignment]
    progress: Tensor | None = None
    taught: Tensor | None = None
    truths: tuple[Truth, ...] | None = None

    @property
    def x(self) -> Tensor:
        return self.views[0]

    @property
    def kept(self) -> Tensor | None:
        """(B, H, W), bool: the pixels of masks that are not ignored; None where an image has one label.

        A loss between predictions leaves out the other pixels, for padding is no picture. An image without a
        label is a picture all the same, and teaches.
        """
        return self.y != IGNORED if self.y.dim() == 3 else None

    def ids(self, method: str) -> Tensor:
        """The labels, for a method that needs integer ids and no probabilities.

        Args:
            method: its name, for the message.

        Raises:
            ValueError: the labels are probabilities, as mixing, label smoothing and class weights make them.
        """
        if self.y.is_floating_point():
            raise ValueError(
                f"{method} needs integer labels, got probabilities of shape {tuple(self.y.shape)}; "
                "switch off label smoothing and mixing, and leave out class weights"
            )
        return self.y

    def rows(self, method: str) -> Tensor:
        """:attr:`index`, for a method that has a memory bank over the training images.

        Args:
            method: its name, for the message.

        Raises:
            ValueError: there is no index, as the images are mixed or some are unlabelled.
        """
        if self.index is None:
            raise ValueError(
                f"{method} keeps a memory of each training image and needs Batch.index; switch off mixing "
                "and unlabelled images"
            )
        return self.index

    def ramp(self, share: float, method: str) -> Tensor | float:
        """A factor that rises linearly from 0 to 1 over the first ``share`` of the phase, ().

        Args:
            share: 0 to 1; 0 gives a factor of 1 throughout.
            method: name of the method, for the message.

        Raises:
            ValueError: :attr:`progress` is None and ``share`` is not 0.
        """
        if share == 0:
            return 1.0
        return (self.elapsed(f"{method} rises over the first {share:.3g} of a run") / share).clamp(max=1.0)

    def elapsed(self, reason: str, otherwise: str = "a share of 0") -> Tensor:
        """:attr:`progress`, for a method whose loss changes during the phase.

        Args:
            reason: name of the method and how it changes, for the message: "FRSKD starts later".
            otherwise: what else the caller may give, for the message.

        Raises:
            ValueError: :attr:`progress` is None.
        """
        if self.progress is None:
            raise ValueError(
                f"{reason} and needs Batch.progress, a tensor of () from 0 to 1; give it, or {otherwise}"
            )
        return self.progress


class Loader(Protocol):
    """Batches, epoch by epoch.

    ``len`` is the micro-batches of an epoch on this rank. ``epoch(e, start)`` yields those of
    epoch e from number ``start`` on: exactly the tail of the whole epoch. Each is
    ``Batch(views, y, index)`` on the device: views (B, C, H, W), float32, normalised, in
    channels_last memory; y (B,); index (B,), rows of the split.
    """

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]: ...
