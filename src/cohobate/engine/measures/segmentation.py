"""Measures of segmentation: mean intersection over union, at the network's size and at the pictures' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core import IGNORED, MIOU, Batch, Loader, Truth, float32
from .. import distributed
from ..evaluate import Measured, Measures, Readouts, autocast

VOID = 255
"""Value of a pixel of :class:`cohobate.core.Truth` that is not counted."""


def confusion(y: Tensor, named: Tensor, classes: int, ignored: int) -> Tensor:
    """How many pixels of each class (row) are named each class (column): (K, K), int64.

    Args:
        y: true classes, any shape; ``ignored`` is not counted.
        named: predicted classes, 0 to K - 1, of the same shape.
        classes: K.
        ignored: the value that is not counted.
    """
    counted = y != ignored
    cells = y[counted].long() * classes + named[counted].long()
    return torch.bincount(cells, minlength=classes**2).view(classes, classes)


def evaluate(
    readouts: Readouts,
    loader: Loader,
    device: torch.device,
    precision: str = "fp32",
    peers: Sequence[str] = (),
) -> Measured:
    """Measure every read-out over a loader; memory does not grow with the number of images.

    Intersection and union of each class are of all images together: sums of one confusion matrix.

    Returns:
        name -> ``miou`` (percent; the mean over the classes that occur, in the masks or the predictions),
        ``pixel_accuracy`` (percent of the pixels), both at the network's size; where the loader knows the
        whole masks, ``miou_original`` at their own sizes, for which logits are enlarged bilinearly;
        ``images``; ``class_iou`` (percent each, None for a class that does not occur).
    """
    sums: dict[str, Tensor] = {}
    images = 0
    for batch in loader.epoch(0):
        with autocast(device, precision):
            answers = readouts(batch.x)
        images += len(batch.y)
        for name, logits in answers.items():
            counted = _count(logits, batch)
            sums[name] = sums[name] + counted if name in sums else counted
    seen = int(distributed.total(torch.tensor(float(images), device=device, dtype=torch.float64)))
    totals = {name: distributed.total(value) for name, value in sums.items()}
    return {
        name: {**_measures(*value), "images": seen, **_each_class(value[0])} for name, value in totals.items()
    }


def _count(logits: Tensor, batch: Batch) -> Tensor:
    """The confusion matrices at the network's size and at the pictures' own, (2, K, K), float64."""
    classes = logits.shape[1]
    seen = confusion(batch.y, logits.argmax(dim=1), classes, IGNORED)
    whole = torch.zeros_like(seen) if batch.truths is None else of_wholes(logits, batch.truths)
    return torch.stack([seen, whole]).double()


def of_wholes(logits: Tensor, truths: Sequence[Truth]) -> Tensor:
    """The confusion matrix of whole pictures, at their own sizes."""
    found = [
        confusion(truth.mask.to(logits.device), named_at(each, truth.box, truth.mask.shape), len(each), VOID)
        for each, truth in zip(logits, truths, strict=True)
    ]
    return torch.stack(found).sum(dim=0)


@float32
def named_at(logits: Tensor, box: Sequence[int], size: Sequence[int]) -> Tensor:
    """The class of every pixel of a picture at its own size, (H_i, W_i), uint8; of equal ones the first.

    The logits of the part that shows the picture are enlarged bilinearly, one class after the other: all of
    them at once would take K times the memory.

    Args:
        logits: (K, H, W), of the image that shows the picture, K at most 255.
        box: left, top, right, bottom of the picture in the image; the rest is padding.
        size: (H_i, W_i), of the picture.
    """
    left, top, right, bottom = box
    part = logits[None, :, top:bottom, left:right]
    named = torch.zeros(*size, dtype=torch.uint8, device=logits.device)
    best = _enlarged(part[:, :1], size)
    for k in range(1, len(logits)):
        other = _enlarged(part[:, k : k + 1], size)
        named.masked_fill_(other > best, k)
        best = torch.maximum(best, other)
    return named


def _enlarged(part: Tensor, size: Sequence[int]) -> Tensor:
    """(1, 1, h, w) -> (H_i, W_i)."""
    return F.interpolate(part, size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class in percent, (K,): NaN for a class that does not occur.

    Args:
        matrix: (K, K), pixels of each true class (row) that are named each class (column).
    """
    both = matrix.diagonal()
    return 100 * both / (matrix.sum(dim=0) + matrix.sum(dim=1) - both)


def _measures(matrix: Tensor, whole: Tensor) -> dict[str, float]:
    measured = {
        MIOU.name: iou(matrix).nanmean().item(),
        "pixel_accuracy": 100 * (matrix.diagonal().sum() / matrix.sum()).item(),
    }
    return measured | ({"miou_original": iou(whole).nanmean().item()} if whole.any() else {})


def _each_class(matrix: Tensor) -> dict[str, Any]:
    return {"class_iou": [None if value != value else value for value in iou(matrix).tolist()]}


SEGMENTATION = Measures(evaluate, headline=MIOU, details=("class_iou",))
