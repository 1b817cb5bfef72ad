"""Mixup and CutMix: pairs of training images, and their labels, made into one.

Hongyi Zhang, Moustapha Cisse, Yann N. Dauphin, David Lopez-Paz. mixup: Beyond Empirical Risk
Minimization. ICLR 2018. arXiv 1710.09412.

Sangdoo Yun, Dongyoon Han, Seong Joon Oh, Sanghyuk Chun, Youngjoon Yoo, Junsuk Choe. CutMix:
Regularization Strategy to Train Strong Classifiers with Localizable Features. ICCV 2019.

Symbols: lambda ``lam``; alpha ``alpha``; x_A and y_A the batch, x_B and y_B the batch in the order
``partner``; r_x and r_y ``centre``; r_w and r_h the sides of :func:`box`.

Choices:
- One lambda, one permutation and one box for all images of a micro-batch on a rank, as the public
  code of both papers has it.
- The weight of a label in CutMix is the exact share of the pixels that are left, after the box was
  clipped at the border. A side is rounded down to whole pixels, and an odd one stays odd (the public
  code halves it and so loses one pixel).
- Neither paper says what to do with several views: all of them get the same partner, lambda and box.
- ``alpha`` by default is what FRSKD's table 8 uses on CIFAR-100: 0.2 for Mixup, 1.0 for CutMix. It has
  0.3 for Mixup on fine-grained sets. CutMix's public code mixes half of the batches on CIFAR; by
  default all are mixed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core import Batch, Loader
from ..order import MIXING, own_draws

ALPHA = {"mixup": 0.2, "cutmix": 1.0}
"""Default alpha of the Beta distribution."""


def mixup(batch: Batch, lam: float, partner: Tensor, classes: int) -> Batch:
    """Each image a weighted mean of itself and its partner, and so is its label.

    Args:
        batch: ids (B,), which become one-hot, or probabilities (B, K).
        lam: share of the image itself, 0 to 1.
        partner: (B,) places in the batch: a permutation.
        classes: K.

    Returns:
        The same views mixed; y as probabilities (B, K); no ``index`` and no ``taught``.

    Raises:
        ValueError: labels of single pixels or of unlabelled images, or a share out of range.
    """
    _check_share("Mixup", lam)
    y = probabilities(batch.y, classes, "Mixup")
    views = tuple(_taken(view, partner).lerp_(view, lam) for view in batch.views)
    return _mixed(batch, views, y, lam, partner)


def cutmix(batch: Batch, lam: float, partner: Tensor, centre: tuple[int, int], classes: int) -> Batch:
    """Replace a box of each image by that of its partner; labels are weighted by the share of pixels.

    Args:
        batch: ids (B,), which become one-hot, or probabilities (B, K).
        lam: share of the pixels to keep, 0 to 1, before the box is clipped at the border.
        partner: (B,) places in the batch: a permutation.
        centre: row and column of the pixel in the middle of the box.
        classes: K.

    Returns:
        As :func:`mixup`.

    Raises:
        ValueError: labels of single pixels or of unlabelled images, a share out of range, or views of
            different sizes.
    """
    _check_share("CutMix", lam)
    y = probabilities(batch.y, classes, "CutMix")
    height, width = batch.x.shape[-2:]
    if any(view.shape != batch.x.shape for view in batch.views):
        raise ValueError(f"CutMix needs views of one shape, got {[tuple(v.shape) for v in batch.views]}")
    top, bottom, left, right = box(lam, height, width, centre)
    views = tuple(view.clone() for view in batch.views)
    for view, before in zip(views, batch.views, strict=True):
        patch = before[:, :, top:bottom, left:right]
        view[:, :, top:bottom, left:right] = patch.index_select(0, partner)
    lam = 1 - (bottom - top) * (right - left) / (height * width)
    return _mixed(batch, views, y, lam, partner)


def box(lam: float, height: int, width: int, centre: tuple[int, int]) -> tuple[int, int, int, int]:
    """First row, end of the rows, first column, end of the columns of CutMix's box.

    Its sides are sqrt(1 - lam) times those of the image, in whole pixels, clipped at the border.

    Source: CutMix, equation 2 (r_w and r_h).
    """
    share = (1 - lam) ** 0.5
    top, bottom = clipped(centre[0], int(height * share), height)
    left, right = clipped(centre[1], int(width * share), width)
    return top, bottom, left, right


def clipped(centre: int, side: int, size: int) -> tuple[int, int]:
    """First pixel and end of a stretch of ``side`` pixels around the centre, within 0 and ``size``."""
    first = centre - side // 2
    return max(0, first), min(size, first + side)


def probabilities(y: Tensor, classes: int, method: str) -> Tensor:
    """Labels as probabilities (B, K): ids become one-hot, probabilities stay as they are.

    Integer labels are looked at, which on a GPU waits for it; :class:`Mixed` does without.

    Args:
        y: ids (B,), or probabilities (B, K).
        classes: K.
        method: name of the method, for the messages.

    Raises:
        ValueError: labels of single pixels, or of unlabelled images.
    """
    if y.is_floating_point():
        return y
    if y.dim() != 1:
        raise ValueError(f"{method} needs one label an image, got labels of shape {tuple(y.shape)}")
    if (y < 0).any():
        raise ValueError(
            f"{method} needs a label for every image, got {int(y.min())}; leave out the unlabelled"
        )
    return F.one_hot(y, classes).float()


def _check_share(method: str, lam: float) -> None:
    if not 0 <= lam <= 1:
        raise ValueError(f"lam of {method} is a share of 0 to 1, got {lam}")


def _taken(x: Tensor, rows: Tensor) -> Tensor:
    """The images at these rows, in the memory layout of ``x``: a compiled step relies on it."""
    return torch.index_select(x, 0, rows, out=torch.empty_like(x))


def _mixed(batch: Batch, views: tuple[Tensor, ...], y: Tensor, lam: float, partner: Tensor) -> Batch:
    y = lam * y + (1 - lam) * y.index_select(0, partner)
    return batch._replace(views=views, y=y, index=None, taught=None)


@final
class Mixed:
    """A loader whose batches are mixed.

    Every draw is keyed by (seed, epoch, micro-batch, rank), so a start in the middle of an epoch gives
    the tail. Batches that are left as they are have probabilities too, and neither ``index`` nor
    ``taught``: to a compiled step all batches are alike.

    Args:
        loader: of labelled images.
        kind: which of the two.
        classes: K.
        seed: of the draws.
        rank: this process.
        alpha: lambda is drawn from Beta(alpha, alpha).
        share: of the batches that are mixed.

    Raises:
        ValueError: no such kind, or alpha or share out of range.
    """

    def __init__(
        self,
        loader: Loader,
        kind: Literal["mixup", "cutmix"],
        classes: int,
        *,
        seed: int,
        rank: int = 0,
        alpha: float | None = None,
        share: float = 1.0,
    ) -> None:
        if kind not in ALPHA:
            raise ValueError(f"mixing must be one of {tuple(ALPHA)}, got {kind!r}")
        self.alpha = ALPHA[kind] if alpha is None else alpha
        if self.alpha <= 0:
            raise ValueError(f"mixing_alpha must be above 0, got {alpha}")
        if not 0 <= share <= 1:
            raise ValueError(f"mixing_share must be 0 to 1, got {share}")
        self.loader, self.kind, self.classes = loader, kind, classes
        self.seed, self.rank, self.share = seed, rank, share

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for number, batch in enumerate(self.loader.epoch(epoch, start), start):
            yield self._one(batch, epoch, number)

    def _one(self, batch: Batch, epoch: int, number: int) -> Batch:
        draws = own_draws(MIXING, self.seed, epoch, number, self.rank)
        mixes = draws.random() < self.share
        lam = float(draws.beta(self.alpha, self.alpha))
        # A copy: it goes to the device beside the step, and NumPy may not touch it meanwhile.
        partner = torch.from_numpy(draws.permutation(len(batch.y))).to(batch.y.device, copy=True)
        if not batch.y.is_floating_point():
            batch = batch._replace(y=F.one_hot(batch.ids("mixing"), self.classes).float())
        if not mixes:
            return batch._replace(index=None, taught=None)
        if self.kind == "mixup":
            return mixup(batch, lam, partner, self.classes)
        row, column = (int(draws.integers(size)) for size in batch.x.shape[-2:])
        return cutmix(batch, lam, partner, (row, column), self.classes)
