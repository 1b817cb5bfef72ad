"""Label smoothing, which shares out part of each label's probability among all classes, and class weights.

Christian Szegedy, Vincent Vanhoucke, Sergey Ioffe, Jonathon Shlens, Zbigniew Wojna. Rethinking the Inception
Architecture for Computer Vision. CVPR 2016. arXiv 1512.00567, section 7.

Class weights multiply the probability of each class in a label. The cross-entropy is linear in the label, so
it is thereby the weighted one, ``-w_c log p_c``, in every method: none needs to know of the weights. They
are scaled so that their mean over the training images is 1, and the sum over a batch is divided by the number
of its images, not by the sum of its weights: so an image counts the same whatever else is in its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core import Batch, Loader


def smooth(batch: Batch, share: float, classes: int) -> Batch:
    """Integer labels (B,) become probabilities (B, K): 1 - share for the class, share / K for each."""
    certain = F.one_hot(batch.ids("label smoothing"), classes).float()
    return batch._replace(y=(1 - share) * certain + share / classes)


@final
class Smoothed:
    """A loader whose labels are smoothed.

    Args:
        loader: of batches with integer labels.
        share: of each label's probability that is shared out, 0 to 1.
        classes: K.
    """

    def __init__(self, loader: Loader, share: float, classes: int) -> None:
        self.loader, self.share, self.classes = loader, share, classes

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.epoch(epoch, start):
            yield smooth(batch, self.share, self.classes)


def class_weights(wanted: Literal["balanced"] | Sequence[float], y: Tensor, classes: int) -> Tensor:
    """The weight of each class, (K,), float32, scaled so that the mean over the training images is 1.

    Args:
        wanted: a weight for each class, or ``"balanced"``: inversely proportional to its number of images,
            so that all classes with images count the same in sum.
        y: (N,) class ids of the training images.
        classes: K.

    Raises:
        ValueError: another number of weights than classes, a negative one or none above 0 that counts.
    """
    counts = torch.bincount(y, minlength=classes).double()
    if wanted == "balanced":
        weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0)
    else:
        weights = torch.tensor([float(weight) for weight in wanted], dtype=torch.float64)
        if len(weights) != classes:
            raise ValueError(f"class_weights has {len(weights)} numbers, the data has {classes} classes")
        if not (weights.isfinite().all() and (weights >= 0).all()):
            raise ValueError(f"class_weights must be 0 or more, got {', '.join(map(str, wanted))}")
    mean = (weights * counts).sum() / counts.sum()
    if mean == 0:
        raise ValueError("class_weights are 0 for every class that has training images; give one above 0")
    return (weights / mean).float()


@final
class Weighted:
    """A loader whose labels carry the weights of the classes: integer labels become weights (B, K).

    Args:
        loader: of labelled images; it may have mixed or smoothed their labels.
        weights: of the classes, (K,), on the device of the batches.
    """

    def __init__(self, loader: Loader, weights: Tensor) -> None:
        self.loader, self.weights = loader, weights

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for batch in self.loader.epoch(epoch, start):
            y = batch.y
            if not y.is_floating_point():
                y = F.one_hot(batch.ids("the weighting of the classes"), len(self.weights))
            yield batch._replace(y=y * self.weights)
