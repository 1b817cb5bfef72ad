"""What a step is given: images, labels, and where the run stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

IGNORED = -100
"""Label of a position that no loss counts."""


class Batch(NamedTuple):
    """Images and labels of one step; row i of every field belongs to label ``y[i]``.

    Attributes:
        views: one or more views of the images, each (B, C, H, W); :attr:`x` is the first.
        y: integer ids, (B,) or (B, H, W), where -100 is ignored; or probabilities, (B, K), floating.
        index: (B,) rows of the training set, for memory banks; None once images are mixed.
        progress: () share of the phase that is done, 0 to 1, on the device.
        taught: (B, K) logits of the teacher, where they were computed before.
    """

    views: tuple[Tensor, ...]
    y: Tensor
    index: Tensor | None = None  # type: ignore[assignment]
    progress: Tensor | None = None
    taught: Tensor | None = None

    @property
    def x(self) -> Tensor:
        return self.views[0]

    def ids(self, who: str) -> Tensor:
        """Integer labels, for a method that cannot take anything else.

        Args:
            who: name of the method.

        Raises:
            ValueError: the labels are probabilities (mixing or label smoothing makes them so).
        """
        if self.y.is_floating_point():
            raise ValueError(
                f"{who} needs integer labels, got probabilities of shape {tuple(self.y.shape)}; "
                "switch off label smoothing and mixing"
            )
        return self.y

    def rows(self, who: str) -> Tensor:
        """Rows of the training set, for a method that keeps something for each of them.

        Args:
            who: name of the method.

        Raises:
            ValueError: the images are no rows of it (mixed, or unlabelled ones among them).
        """
        if self.index is None:
            raise ValueError(
                f"{who} keeps a memory of each training image and needs Batch.index; switch off mixing "
                "and unlabelled images"
            )
        return self.index

    def ramp(self, share: float, who: str) -> Tensor | float:
        """A linear rise from 0 to 1 over the first ``share`` of the phase.

        Raises:
            ValueError: the batch does not say how far the phase is.
        """
        if share == 0:
            return 1.0
        return (self.elapsed(f"{who} rises over the first {share:.3g} of a run") / share).clamp(max=1.0)

    def elapsed(self, who: str) -> Tensor:
        """Share of the phase that is done, (), for ``who`` changes with it.

        Raises:
            ValueError: the batch does not say.
        """
        if self.progress is None:
            raise ValueError(
                f"{who} and needs Batch.progress, a tensor of () from 0 to 1; give it, or a share of 0"
            )
        return self.progress


class Loader(Protocol):
    """Batches, epoch by epoch.

    ``len`` is the micro-batches of an epoch on this rank. ``epoch(e, start)`` yields those of
    epoch e from number ``start`` on: exactly the tail of the whole epoch. Each is
    ``Batch(views, y, index)`` on the device: views (B, 3, H, W), float32, normalised, in
    channels_last memory; y (B,); index (B,), rows of the split.
    """

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]: ...
