"""Small images: uint8 on the device, cropped, mirrored and normalised a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, repeat
from typing import Protocol, final

import torch
from torch import Tensor

from ..core import Batch
from .augment.autoaugment import Distortion
from .dataset import Channels, Dataset, Images
from .order import EvalOrder, SecondView, Shown, TrainOrder, filled, view_rows


class Statistics(Protocol):
    """What has the mean and standard deviation of each channel of its images, in units of 0 to 1."""

    @property
    def mean(self) -> Channels: ...
    @property
    def std(self) -> Channels: ...


@final
class Normalise:
    """uint8 (B, H, W, C) -> float32 (B, C, H, W), less the mean, over the standard deviation.

    The result is in channels_last memory: the pixels are not moved.

    Args:
        of: a data set, or what else has the mean and standard deviation.
        width: W.
        device: of the images.
    """

    def __init__(self, of: Statistics, width: int, device: torch.device) -> None:
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (of.mean, of.std))
        # Repeated for a whole line: an operation over an innermost axis of 3 or so is not vectorised.
        self._scale = (1 / (255 * std)).float().repeat(width).to(device)
        self._shift = (-mean / std).float().repeat(width).to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        lines = pixels.flatten(2).float()
        return lines.mul_(self._scale).add_(self._shift).view(pixels.shape).permute(0, 3, 1, 2)


@final
class Crops:
    """Zero-padded images in one row of pixels, and their mirror images if they may be flipped.

    A crop is H lines that each begin at some pixel, so a batch of crops is one gather of lines.
    Gathering pixels, or mirroring after the gather, is slower; the mirrored copy is paid in memory.
    Neighbours share their padding: the zeros to the right of a line are also those to the left of the
    next, and likewise above and below.

    Args:
        x: (N, H, W, C), uint8.
        crop: zero pixels on each side.
        flip: whether crops are mirrored at random.
        device: on which the images are stored.
    """

    def __init__(self, x: Tensor, crop: int, flip: bool, device: torch.device) -> None:
        n, self.h, self.w, channels = x.shape
        self.n, self.crop, self.flip = n, crop, flip
        self.line = self.w + crop
        self.image = self.line * (self.h + crop)
        above = crop * self.line + crop
        count = above + n * self.image * (2 if flip else 1)
        pixels = torch.zeros(count, channels, dtype=torch.uint8, device=device)
        padded = pixels[above:].view(-1, self.h + crop, self.line, channels)[:, : self.h, : self.w]
        padded[:n] = x.to(device)
        if flip:
            padded[n:].copy_(padded[:n].flip(2))
        # Every line that begins at any pixel; the lines overlap and take no memory of their own.
        self._lines = pixels.as_strided((len(pixels) - self.w + 1, channels * self.w), (channels, 1))
        self._down = torch.arange(self.h, device=device) * self.line

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """First pixel of a random crop of each of these images, (M,)."""
        top, left = torch.randint(2 * self.crop + 1, (2, len(rows)), generator=generator).unbind()
        if self.flip:
            mirrored = torch.randint(2, (len(rows),), generator=generator)
            # The same pixels begin at this column in the mirrored image.
            left = torch.where(mirrored == 1, 2 * self.crop - left, left)
            rows = rows + mirrored * self.n
        return rows * self.image + top * self.line + left

    def whole(self) -> Tensor:
        """First pixel of each image as it is, (N,)."""
        return torch.arange(self.n) * self.image + self.crop * self.line + self.crop

    def __call__(self, first: Tensor) -> Tensor:
        """The crops that begin at these pixels, uint8 (B, H, W, C)."""
        lines = (first[:, None] + self._down).view(-1)
        return self._lines.index_select(0, lines).view(len(first), self.h, self.w, -1)


@final
class ResidentTrain:
    """Training batches of images in memory. All draws of an epoch come first: a batch is indexing only.

    Attributes:
        order: of the images in each epoch, and which version of them it shows.
    """

    def __init__(
        self,
        split: Images,
        dataset: Dataset,
        order: TrainOrder,
        device: torch.device,
        second_view: SecondView,
        distortion: Distortion,
    ) -> None:
        self._y, self._distortion = split.y, distortion
        self.order, self._device, self._second_view = order, device, second_view
        self._crops = Crops(split.x, dataset.crop, dataset.flip, device)
        self._normalise = Normalise(dataset, split.x.shape[2], device)

    def __len__(self) -> int:
        return len(self.order)

    def in_order(self, version: int, size: int, rank: int = 0, world: int = 1) -> Iterator[Shown]:
        """Every image once and in order, in its first view in this version; see :data:`Shown`."""
        first, draws = next(self._tables(version)).to(self._device), next(self._draws(version))
        for rows in EvalOrder(len(self._y), size, rank, world).spans(0):
            each = filled(rows, size)
            yield rows, self._shown(first[each.to(self._device)], draws[each])

    def _tables(self, version: int) -> Iterator[Tensor]:
        """First pixel of each image's crop, (N,), view by view."""
        if self.order.augmentations == 0:
            yield from repeat(self._crops.whole())
        generator = self.order.generator(version)
        rows = torch.randperm(len(self._y), generator=generator)
        back = rows.argsort()
        while True:
            yield self._crops.draw(rows, generator)[back]

    def _draws(self, version: int) -> Iterator[Tensor]:
        """The draws of AutoAugment and Cutout for each image, (N, 7), view by view."""
        for view in count():
            yield self._distortion.table(self.order.seed, version, view, len(self._y))

    def _views(
        self, epoch: int, items: Tensor, index: Tensor, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """First pixels of an epoch's crops, and the draws of AutoAugment and Cutout, view by view.

        With a fixed number of versions the draws of a view belong to the row of its image, else to the item.
        """
        shown = view_rows(self._second_view, self._y, index, generator)
        version = self.order.version(epoch)
        if self.order.versions is None:
            for rows, draws in zip(shown, self._draws(version), strict=False):
                yield self._crops.draw(rows, generator), draws[items]
        else:
            for rows, table, draws in zip(shown, self._tables(version), self._draws(version), strict=False):
                yield table[rows], draws[rows]

    def _shown(self, first: Tensor, draws: Tensor) -> Tensor:
        pixels = self._distortion.changed(self._crops(first), draws)
        return self._distortion.hidden(self._normalise(pixels), draws)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        generator = self.order.generator(epoch)
        items, index = self.order.drawn(self._y, generator)
        shown = self._views(epoch, items, index, generator)
        views = [(first.to(self._device), draws) for first, draws in shown]
        y = self._y[index].to(self._device)
        index = index.to(self._device)
        for span in self.order.spans(start):
            x = tuple(self._shown(first[span], draws[span]) for first, draws in views)
            yield Batch(x, y[span], index[span])


@final
class ResidentEval:
    """Evaluation batches of images in memory, without augmentation, in the order of the split."""

    def __init__(self, split: Images, dataset: Dataset, order: EvalOrder, device: torch.device) -> None:
        self._x, self._y = split.x.to(device), split.y.to(device)
        self._order = order
        self._normalise = Normalise(dataset, split.x.shape[2], device)

    def __len__(self) -> int:
        return len(self._order)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for span in self._order.spans(start):
            index = torch.arange(span.start, span.stop, device=self._y.device)
            yield Batch((self._normalise(self._x[span]),), self._y[span], index)
