"""A frozen teacher's logits, computed once where its images repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..core import Batch, Method, Term
from .loaders import TrainLoader

LIMIT = 8 * 2**30
"""Bytes of logits that are kept at most."""


class Taught:
    """A loader whose batches carry the logits of the teacher (``Batch.taught``).

    The images must come in a fixed number of versions (``augmentations``). A version is computed
    whole, row after row in batches of one size, when an epoch first shows it: what is served depends
    on nothing else, so that a run which goes on after a stop is served the same to the bit. Each
    rank computes its share. With the size of the training batches the logits are also those that the
    step would have computed, as far as the device's kernels do not look at the neighbours.

    Memory: 4 bytes x versions x images x classes, on the device. Files are decoded once more for
    each version.

    Args:
        loader: of training batches.
        teacher: images (B, 3, H, W) -> the teacher's logits (B, K), float32, under the run's precision
            and layout.
        shape: (images of the training split, classes).
        device: where the logits are kept.
        batch_size: images of a batch on this rank.
        rank: this process.
        world: processes.
        total: sums a tensor over all processes; the identity where there is one.
    """

    def __init__(
        self,
        loader: TrainLoader,
        teacher: Callable[[Tensor], Tensor],
        shape: tuple[int, int],
        device: torch.device,
        *,
        batch_size: int,
        rank: int,
        world: int,
        total: Callable[[Tensor], Tensor],
    ) -> None:
        self.loader, self.teacher, self.shape, self.device = loader, teacher, shape, device
        self.batch_size, self.rank, self.world, self.total = batch_size, rank, world, total
        self._tables: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        version = self.loader.version(epoch)
        if version not in self._tables:
            self._tables[version] = self._computed(version)
        for batch in self.loader.epoch(epoch, start):
            rows = batch.rows("the store of the teacher's logits")
            yield batch._replace(taught=self._tables[version].index_select(0, rows))

    def _computed(self, version: int) -> Tensor:
        table = torch.zeros(self.shape, device=self.device)
        for rows, x in self.loader.in_order(version, self.batch_size, self.rank, self.world):
            logits = self.teacher(x)
            if logits.shape[1:] != table.shape[1:]:
                raise ValueError(
                    f"the teacher's logits are {tuple(logits.shape)}, the data has {self.shape[1]} classes; "
                    "only logits of (batch, classes) can be kept, go on with --cache-teacher off"
                )
            table[rows] = logits[: rows.stop - rows.start]
        # Rows of the other ranks are zero here, so that the sum is exact.
        return self.total(table)


def obstacle(
    method: Method,
    augmentations: int | None,
    shape: tuple[int, int],
    unlabelled: bool = False,
    mixing: str = "none",
) -> str | None:
    """Why the logits of a method's teacher cannot be kept; None if they can.

    Args:
        method: what learns.
        augmentations: different versions of each image, as :func:`train_loader` takes them.
        shape: (images of the training split, classes).
        unlabelled: whether there are images that are no rows of the training split.
        mixing: how images are mixed in pairs.
    """
    if method.reads_logits_of is None:
        terms = {type(m).__name__ for m in method.modules() if isinstance(m, Term) and not m.logits_only}
        return (
            f"{', '.join(sorted(terms)) or type(method).__name__} reads more of the teacher than its logits"
        )
    if augmentations is None:
        return "every epoch draws new augmentations; fix their number by --augmentations"
    if method.second_view is not None:
        return f"{type(method).__name__} shows the teacher a second view of each image"
    if unlabelled:
        return "unlabelled images are no rows of the training split; leave out --unlabelled"
    if mixing != "none":
        return f"{mixing} shows pairs of images as one, anew in every batch; leave out --mixing"
    versions, (images, classes) = max(1, augmentations), shape
    size = 4 * versions * images * classes
    if size > LIMIT:
        return (
            f"{versions} versions x {images} images x {classes} classes x 4 bytes are {size / 2**30:.1f} "
            f"GiB, at most {LIMIT / 2**30:.0f} are kept; give fewer --augmentations"
        )
    return None
