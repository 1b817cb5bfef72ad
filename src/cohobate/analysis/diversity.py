"""Diversity of classifiers: how different the errors of networks are that learn side by side.

Li et al., *Online Knowledge Distillation via Multi-branch Diversity Enhancement*, ACCV 2020, eq. 9, and two
measures of the book that it cites: Zhou, *Ensemble Methods*, 2012, section 5.3 (after Kuncheva and Whitaker,
*Machine Learning* 51, 2003). Only whether a classifier is right counts, not which wrong class it predicts.

Symbols of eq. 9, and of eq. 9 alone: T = classifiers, the columns of ``correct``; m = test images, its rows;
rho(x_k) = how many classifiers are right about image k, the sum of a row; p_bar = their mean accuracy.

All three follow from B, the (T, T) shares of images that both of two classifiers get right, whose diagonal is
their accuracies: sum_k rho(x_k) (T - rho(x_k)) = m (T tr B - sum B). So B is all that a run records
(``both_right`` of ``peer_mean``), and :func:`of_shares` reads it.

Choices:

- Where all are always right, or all always wrong, eq. 9 is 0 / 0: NaN (None in :func:`of_shares`).
- Q of two classifiers is 0 / 0 exactly where one of them is always right or always wrong. Such a pair is left
  out of the mean; NaN (None) where no pair is left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NONE_LEFT = 1e-12
"""A share below this is a rounding error of zero: the smallest possible one is 1 / images."""


def shares_right(correct: Tensor) -> Tensor:
    """Shares of the images that both of two classifiers get right, (T, T) float64, 0 to 1.

    Args:
        correct: (N, T), bool or 0 and 1: whether classifier j is right about image i.

    Raises:
        ValueError: not two-dimensional, fewer than two classifiers, no images, or other values.
    """
    if correct.ndim != 2 or correct.shape[0] < 1 or correct.shape[1] < 2:
        raise ValueError(
            "correct must be (N, T), for one image or more and two classifiers or more; "
            f"got shape {tuple(correct.shape)}"
        )
    right = correct.double()
    if not ((right == 0) | (right == 1)).all():
        raise ValueError("correct holds True and False, or 1 and 0; got other values")
    return right.T @ right / len(right)


def interrater_agreement(correct: Tensor) -> Tensor:
    """Interrater agreement s, (): 1 where all are right about the same images, about 0 where independently.

    Smaller is more diverse, down to -1 / (T - 1) or so. NaN where it is undefined.

    Args:
        correct: (N, T), see :func:`shares_right`, which says what is raised.
    """
    return _agreement(shares_right(correct))


def disagreement(correct: Tensor) -> Tensor:
    """Disagreement, (): share of images that exactly one of two gets right, mean over pairs, 0 to 1.

    Larger is more diverse.

    Args:
        correct: (N, T), see :func:`shares_right`, which says what is raised.
    """
    return _disagreement(shares_right(correct))


def q_statistic(correct: Tensor) -> Tensor:
    """Yule's Q, (): (ad - bc) / (ad + bc), mean over pairs, -1 to 1; 0 where they err independently.

    Here a: both are right, d: both are wrong, b and c: only the one, only the other. Smaller is more diverse.
    NaN where it is undefined.

    Args:
        correct: (N, T), see :func:`shares_right`, which says what is raised.
    """
    return _q(shares_right(correct))


def of_shares(both_right: Tensor) -> dict[str, float | None]:
    """All three measures, from the shares in a run's record; None where one is undefined.

    Args:
        both_right: (T, T) shares, 0 to 1, as :func:`shares_right` gives them.

    Returns:
        ``agreement`` (s), ``disagreement`` and ``q_statistic``, none of them in percent.

    Raises:
        ValueError: not a square of two classifiers or more.
    """
    if both_right.ndim != 2 or both_right.shape[0] != both_right.shape[1] or len(both_right) < 2:
        raise ValueError(
            f"expected (T, T) shares of two classifiers or more, got shape {tuple(both_right.shape)}"
        )
    shares = both_right.double()
    measures = {
        "agreement": _agreement(shares),
        "disagreement": _disagreement(shares),
        "q_statistic": _q(shares),
    }
    values = {name: value.item() for name, value in measures.items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _agreement(both: Tensor) -> Tensor:
    count = len(both)  # T
    mean = both.trace() / count  # p_bar
    spread = mean * (1 - mean)
    spread = torch.where(spread < NONE_LEFT, math.nan, spread)
    split = count * both.trace() - both.sum()  # (1 / m) sum_k rho(x_k) (T - rho(x_k))
    return 1 - split / count / ((count - 1) * spread)  # Eq. 9


def _disagreement(both: Tensor) -> Tensor:
    _, one, other, _ = _pairs(both)
    return (one + other).mean()


def _q(both: Tensor) -> Tensor:
    right, one, other, wrong = _pairs(both)
    together, apart = right * wrong, one * other
    return ((together - apart) / (together + apart)).nanmean()


def _pairs(both: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each pair, the shares of images that both, the one only, the other only, neither gets right."""
    i, j = torch.triu_indices(len(both), len(both), offset=1, device=both.device)
    right, first, second = both[i, j], both[i, i], both[j, j]
    cells = right, first - right, second - right, 1 - first - second + right
    right, one, other, wrong = (torch.where(cell < NONE_LEFT, 0.0, cell) for cell in cells)
    return right, one, other, wrong
