"""Measures of classifiers: top-1, top-5, likelihood, calibration, each class; agreement of peers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core import IGNORED, TOP1_ERROR, Loader
from .. import distributed
from ..evaluate import Measured, Measures, Readouts, predictions
from .peers import PEER_MEAN, check_peers, mean_of

BINS = 15


def evaluate(
    readouts: Readouts,
    loader: Loader,
    device: torch.device,
    precision: str = "fp32",
    peers: Sequence[str] = (),
) -> Measured:
    """Measure every read-out over a loader.

    Args:
        peers: names of read-outs that learn side by side; fewer than two have nothing in common.

    Returns:
        name -> ``top1_error``, ``top5_error`` and ``ece`` (percent; expected calibration error over
        15 equal bins, Guo et al. 2017), ``nll`` (nats), ``images``, ``class_error`` (percent each).
        Of two peers or more also, at the end, ``peer_mean`` -> the mean over them of each of these, and
        ``both_right`` and ``same_class``: for each two of them, rows and columns in the order of
        ``peers``, the share (0 to 1) of the images that both get right, and of those for which both
        name the same class.

    Raises:
        ValueError: a peer that is no read-out, or a read-out that is itself called ``peer_mean``.
    """
    sums: dict[str, Tensor] = {}
    pairs: dict[str, Tensor] = {}
    for y, answers in predictions(readouts, loader, device, precision):
        y = y.flatten()
        labelled = y != IGNORED
        y, named = y[labelled], {}
        for name, logits in answers.items():
            logits = logits.double().movedim(1, -1).flatten(0, -2)[labelled]
            top = logits.topk(min(5, logits.shape[1]), 1).indices
            counted, named[name] = _count(logits, top, y), top[:, 0]
            sums[name] = sums[name] + counted if name in sums else counted
        if len(peers) > 1:
            check_peers(peers, named)
            counted = _count_pairs(torch.stack([named[name] for name in peers]), y)
            pairs[PEER_MEAN] = pairs[PEER_MEAN] + counted if pairs else counted
    measured = {name: _measures(value) for name, value in distributed.totals(sums, device).items()}
    for name, value in distributed.totals(pairs, device).items():
        measured[name] = mean_of([measured[peer] for peer in peers]) | _shares(value)
    return measured


def _count(logits: Tensor, top: Tensor, y: Tensor) -> Tensor:
    """Everything that is summed, in one float64 vector: it crosses processes in one call.

    Args:
        logits: (N, K), float64.
        top: (N, 5), the likeliest classes, in descending order.
        y: (N,).
    """
    classes = logits.shape[1]
    log_p = logits.log_softmax(1)
    hits = (top == y[:, None]).double()
    confidence = log_p.max(1).values.exp()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    zeros = torch.zeros(BINS, dtype=torch.float64, device=y.device)
    first = hits[:, 0]
    return torch.cat([
        torch.stack([
            torch.tensor(float(len(y)), dtype=torch.float64, device=y.device),
            first.sum(),
            hits.sum(),
            -log_p.gather(1, y[:, None]).sum(),
        ]),
        zeros.index_add(0, bins, confidence - first),
        torch.bincount(y, minlength=classes).double(),
        torch.bincount(y, weights=first, minlength=classes),
    ])  # fmt: skip


def _count_pairs(named: Tensor, y: Tensor) -> Tensor:
    """For each two peers the images that both get right, then those that both give one class; all images.

    Args:
        named: (T, N), the class that each of T peers predicts.
        y: (N,).
    """
    right = (named == y).double()
    same = (named[:, None] == named).sum(-1).double()
    images = torch.full((1,), len(y), dtype=torch.float64, device=y.device)
    return torch.cat([(right @ right.T).flatten(), same.flatten(), images])


def _measures(sums: Tensor) -> dict[str, Any]:
    n, first, five, nll = sums[:4].tolist()
    gaps, counts = sums[4 : 4 + BINS], sums[4 + BINS :].view(2, -1)
    per_class = 100 * (1 - counts[1] / counts[0])
    return {
        TOP1_ERROR.name: 100 * (1 - first / n),
        "top5_error": 100 * (1 - five / n),
        "nll": nll / n,
        "ece": 100 * gaps.abs().sum().item() / n,
        "images": int(n),
        "class_error": [None if e != e else e for e in per_class.tolist()],
    }


def _shares(sums: Tensor) -> dict[str, list[list[float]]]:
    both, same = (sums[:-1] / sums[-1]).view(2, -1)
    peers = math.isqrt(len(both))
    return {"both_right": both.view(peers, peers).tolist(), "same_class": same.view(peers, peers).tolist()}


CLASSIFICATION = Measures(evaluate, headline=TOP1_ERROR, details=("class_error",))
