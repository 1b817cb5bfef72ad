"""Stored logits of a frozen teacher, for training images that repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..core import Batch, Method, Term
from .loaders import TrainLoader

LIMIT = 8 * 2**30
"""Largest size of the stored logits, in bytes."""


class Taught:
    """A loader whose batches carry the logits of the teacher (``Batch.taught``).

    The images must come in a fixed number of versions (``augmentations``). The logits of a
    whole version are computed in the first epoch with this version, in the order of the rows and in
    batches of one size. They depend on nothing else, so a resumed run uses bit-identical logits. Each
    rank computes a part. They equal the logits computed within a training step if ``batch_size`` is that
    of the step, and the device's kernels treat each image independently of the rest of the batch.

    Memory: 4 bytes x versions x images x classes, on the device. Files are decoded once more for
    each version.

    Args:
        loader: of training batches.
        teacher: images (B, C, H, W) -> the teacher's logits (B, K), float32, under the run's precision
            and layout.
        shape: (images of the training split, classes).
        device: on which the logits are stored.
        batch_size: images of a batch on this rank.
        rank: number of this process.
        world: number of processes.
        total: sums a tensor over all processes; the identity for a single one.
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
        version = self.loader.order.version(epoch)
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
                    "only logits of (batch, classes) can be stored; go on with --cache-teacher off"
                )
            table[rows] = logits[: rows.stop - rows.start]
        # The rows that other ranks compute are zero in this table, so the sum is exact.
        return self.total(table)


def obstacle(
    method: Method,
    augmentations: int | None,
    shape: tuple[int, int],
    unlabelled: bool = False,
    mixing: str = "none",
    of_pixels: bool = False,
) -> str | None:
    """Why the logits of a method's teacher cannot be stored; None if they can.

    Args:
        method: trained with the teacher.
        augmentations: number of versions of each image, as in :func:`train_loader`.
        shape: (images of the training split, classes).
        unlabelled: whether batches contain images that are no rows of the training split.
        mixing: ``"mixup"``, ``"cutmix"`` or ``"none"``.
        of_pixels: whether the images have masks, so that there are logits of every pixel.
    """
    if method.reads_logits_of is None:
        terms = {type(m).__name__ for m in method.modules() if isinstance(m, Term) and not m.logits_only}
        return (
            f"{', '.join(sorted(terms)) or type(method).__name__} reads more of the teacher than its logits"
        )
    if of_pixels:
        return "images with masks have logits of every pixel, and those of whole images are stored"
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
            f"GiB, at most {LIMIT / 2**30:.0f} are stored; give fewer --augmentations"
        )
    return None
