"""Measures of segmentation: mean intersection over union, at the network's size and at the pictures' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config.words import count
from ...core import IGNORED, MIOU, VOID, Batch, Loader, Truth, float32
from .. import distributed
from ..evaluate import Measured, Measures, Readouts, autocast
from .peers import PEER_MEAN, check_peers, mean_of


def confusion(y: Tensor, named: Tensor, classes: int, ignored: int) -> Tensor:
    """How many pixels of each class (row) are named each class (column): (K, K), int64.

    Args:
        y: true classes, any shape; ``ignored`` is not counted.
        named: predicted classes, 0 to K - 1, of the same shape.
        classes: K, at most 46,339: cells are numbered in int32, which is faster.
        ignored: the value that is not counted.
    """
    # Ignored pixels have a row of their own: picking the others would cost more than all the rest.
    rows = y.to(torch.int32).masked_fill(y == ignored, classes)
    cells = rows * classes + named.to(torch.int32)
    return torch.bincount(cells.flatten(), minlength=(classes + 1) * classes).view(-1, classes)[:classes]


def evaluate(
    readouts: Readouts,
    loader: Loader,
    device: torch.device,
    precision: str = "fp32",
    peers: Sequence[str] = (),
) -> Measured:
    """Measure every read-out over a loader; memory does not grow with the number of images.

    Intersection and union of each class are of all images together: sums of one confusion matrix.

    Args:
        peers: names of read-outs that learn side by side; fewer than two have nothing in common.

    Returns:
        name -> ``miou`` (percent; the mean over the classes that occur, in the masks or the predictions),
        ``pixel_accuracy`` (percent of the pixels), both at the network's size; where the loader knows the
        whole masks, ``miou_original`` at their own sizes, for which logits are enlarged bilinearly;
        ``images``; ``class_iou`` (percent each, None for a class that does not occur). Logits that are not
        finite make every number NaN. Of two peers or more also, at the end, ``peer_mean`` -> the mean over
        them of each of these.

    Raises:
        ValueError: every pixel of every image is ignored; a peer that is no read-out, or a read-out that
            is itself called ``peer_mean``.
    """
    sums: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    for batch in loader.epoch(0):
        with autocast(device, precision):
            answers = readouts(batch.x)
        images = torch.full((), len(batch.y), dtype=torch.float64, device=device)
        seen["images"] = seen["images"] + images if seen else images
        for name, logits in answers.items():
            counted = _count(logits, batch)
            sums[name] = sums[name] + counted if name in sums else counted
        if len(peers) > 1:
            check_peers(peers, answers)
    images = distributed.totals(seen, device)["images"]
    totals = distributed.totals(sums, device)
    measured = {name: _measures(value, int(images)) for name, value in totals.items()}
    if len(peers) > 1:
        measured[PEER_MEAN] = mean_of([measured[name] for name in peers])
    return measured


def _count(logits: Tensor, batch: Batch) -> Tensor:
    """The confusion matrices at the network's size and at the pictures' own, (2, K, K), float64."""
    classes = logits.shape[1]
    best, named = logits.max(dim=1)  # three times as fast as argmax
    # A class is named whatever the logits: what is not finite would hide in numbers that look right.
    finite = best.isfinite().all()
    seen = confusion(batch.y, named, classes, IGNORED).double().where(finite, torch.nan)
    if batch.truths is None:
        return torch.stack([seen, torch.zeros_like(seen)])
    whole = of_wholes(logits, batch.truths).double().where(finite, torch.nan)
    return torch.stack([seen, whole])


def of_wholes(logits: Tensor, truths: Sequence[Truth]) -> Tensor:
    """The confusion matrix of whole pictures, at their own sizes."""
    classes = logits.shape[1]
    found = torch.zeros(classes, classes, dtype=torch.int64, device=logits.device)
    for each, truth in zip(logits, truths, strict=True):
        mask = truth.mask.to(logits.device)
        found += confusion(mask, named_at(each, truth.box, mask.shape), classes, VOID)
    return found


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


def _measures(counts: Tensor, images: int) -> dict[str, Any]:
    matrix, whole = counts
    pixels = matrix.sum()
    if pixels == 0:
        raise ValueError(
            f"no pixel of {count(images, 'image')} is counted: the masks hold nothing but ignored pixels; "
            "give masks with classes"
        )
    each, finite = iou(matrix), not matrix.isnan().any()
    return {
        MIOU.name: each.nanmean().item(),
        **({"miou_original": iou(whole).nanmean().item()} if whole.any() else {}),
        "pixel_accuracy": 100 * (matrix.diagonal().sum() / pixels).item(),
        "images": images,
        # A class that does not occur is one thing, one of which nothing can be said another.
        "class_iou": [None if finite and value != value else value for value in each.tolist()],
    }


SEGMENTATION = Measures(evaluate, headline=MIOU)
