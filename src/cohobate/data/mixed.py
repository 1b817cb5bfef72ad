"""Unlabelled images beside the labelled ones of a batch."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing

import torch

from ..core import Batch, Loader


class WithUnlabelled:
    """Batches of labelled images, followed by unlabelled ones: more for the teacher's terms to compare.

    The labels of those are -100, which the cross-entropy does not count; ``index`` is None, for they
    are no rows of the training split, and so is ``taught``. Batch norm sees the larger batch, the
    unlabelled images included, and its statistics are those of the mixture.

    The unlabelled images run through epochs of their own: micro-batch i of epoch e gets number
    ``e * len(labelled) + i`` of them, so that a start in the middle gives the tail.

    Args:
        labelled: the run's batches.
        unlabelled: as many views, on the same device.
    """

    def __init__(self, labelled: Loader, unlabelled: Loader) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def __len__(self) -> int:
        return len(self.labelled)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        with closing(self._others(epoch * len(self) + start)) as others:
            for batch, other in zip(self.labelled.epoch(epoch, start), others, strict=False):
                views = tuple(torch.cat(pair) for pair in zip(batch.views, other.views, strict=True))
                yield Batch(views, torch.cat([batch.y, other.y]))

    def _others(self, position: int) -> Generator[Batch]:
        """Unlabelled batches from this number on, without end."""
        epoch, start = divmod(position, len(self.unlabelled))
        while True:
            yield from self.unlabelled.epoch(epoch, start)
            epoch, start = epoch + 1, 0
