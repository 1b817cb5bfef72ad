"""Diversity of classifiers against loops written from the paper and the book."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from cohobate.analysis.diversity import (
    disagreement,
    interrater_agreement,
    of_shares,
    q_statistic,
    shares_right,
)

MEASURES = (interrater_agreement, disagreement, q_statistic)
# Ten images: all are right about four, 1 and 2 about two, 3 alone and 1 alone about one, none about two.
BY_HAND = torch.tensor([[1, 1, 1]] * 4 + [[1, 1, 0]] * 2 + [[0, 0, 1]] + [[1, 0, 0]] + [[0, 0, 0]] * 2)


def answers(n: int = 60, classifiers: int = 4) -> Tensor:
    """Classifiers of different accuracy that lean on the same hard images."""
    hard = torch.rand(n, 1)
    return torch.rand(n, classifiers) * 0.7 + 0.3 * hard < torch.linspace(0.4, 0.8, classifiers)


def naive_agreement(correct: Tensor) -> float:
    """Eq. 9, image by image."""
    m, t = correct.shape
    rho = [sum(int(right) for right in row) for row in correct.tolist()]
    p_bar = sum(rho) / (m * t)
    inner = sum(r * (t - r) for r in rho) / t
    return 1 - inner / (m * (t - 1) * p_bar * (1 - p_bar))


def naive_pairs(correct: Tensor) -> tuple[float, float]:
    """Disagreement and Q of the book's contingency table a, b, c, d; pairs that have no Q are left out."""
    rows = correct.bool().tolist()
    apart, qs = [], []
    for i, j in combinations(range(correct.shape[1]), 2):
        a = sum(row[i] and row[j] for row in rows)
        b = sum(not row[i] and row[j] for row in rows)
        c = sum(row[i] and not row[j] for row in rows)
        d = sum(not row[i] and not row[j] for row in rows)
        apart.append((b + c) / (a + b + c + d))
        if a * d + b * c:
            qs.append((a * d - b * c) / (a * d + b * c))
    return sum(apart) / len(apart), sum(qs) / len(qs) if qs else math.nan


@pytest.mark.parametrize("classifiers", [2, 3, 7])
def test_against_loops(classifiers: int) -> None:
    for _ in range(5):
        correct = answers(classifiers=classifiers)
        apart, q = naive_pairs(correct)
        assert interrater_agreement(correct).item() == pytest.approx(naive_agreement(correct))
        assert disagreement(correct).item() == pytest.approx(apart)
        assert q_statistic(correct).item() == pytest.approx(q)


def test_worked_by_hand() -> None:
    """Accuracies 0.7, 0.6, 0.5, so p_bar = 0.6 and p_bar (1 - p_bar) = 0.24.

    rho (3 - rho) is 2 for the four images that one or two get right: s = 1 - (8 / 3) / (10 x 2 x 0.24).
    Exactly one is right: 1 image of 1 and 2, 4 of 1 and 3, 3 of 2 and 3.
    a d and b c: 6 x 3 and 1 x 0, 4 x 2 and 3 x 1, 4 x 3 and 2 x 1.
    """
    assert interrater_agreement(BY_HAND).item() == pytest.approx(1 - 8 / 3 / 4.8)
    assert disagreement(BY_HAND).item() == pytest.approx((0.1 + 0.4 + 0.3) / 3)
    assert q_statistic(BY_HAND).item() == pytest.approx((1 + 5 / 11 + 10 / 14) / 3)


def test_identical_classifiers_agree() -> None:
    correct = (torch.rand(50, 1) < 0.6).expand(-1, 4)
    assert interrater_agreement(correct).item() == pytest.approx(1)
    assert disagreement(correct).item() == 0
    assert q_statistic(correct).item() == pytest.approx(1)


def test_independent_classifiers_agree_by_chance() -> None:
    correct = torch.rand(200_000, 3) < 0.7
    assert interrater_agreement(correct).item() == pytest.approx(0, abs=0.01)
    assert disagreement(correct).item() == pytest.approx(2 * 0.7 * 0.3, abs=0.01)
    assert q_statistic(correct).item() == pytest.approx(0, abs=0.03)


def test_two_that_are_never_right_together() -> None:
    first = torch.arange(20) < 10
    correct = torch.stack([first, ~first], 1)
    assert interrater_agreement(correct).item() == pytest.approx(-1)
    assert disagreement(correct).item() == 1
    assert q_statistic(correct).item() == pytest.approx(-1)


def test_kohavi_wolpert_variance_joins_them() -> None:
    """The book: KW = (T - 1) / 2T disagreement, and s = 1 - T / ((T - 1) p_bar (1 - p_bar)) KW."""
    correct = answers(classifiers=5)
    m, t = correct.shape
    rho = correct.double().sum(1)
    kw = (rho * (t - rho)).sum().item() / (m * t**2)
    p_bar = correct.double().mean().item()
    assert disagreement(correct).item() == pytest.approx(kw * 2 * t / (t - 1))
    s = 1 - t / ((t - 1) * p_bar * (1 - p_bar)) * kw
    assert interrater_agreement(correct).item() == pytest.approx(s)


@pytest.mark.parametrize("measure", MEASURES)
def test_order_matters_to_none(measure: Callable[[Tensor], Tensor]) -> None:
    correct = answers()
    shuffled = correct[torch.randperm(len(correct))][:, torch.randperm(correct.shape[1])]
    assert measure(shuffled).item() == pytest.approx(measure(correct).item())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16])
def test_any_way_to_say_right(dtype: torch.dtype) -> None:
    assert interrater_agreement(BY_HAND.to(dtype)).item() == interrater_agreement(BY_HAND).item()


def test_shares_are_the_accuracies_and_the_pairs() -> None:
    shares = shares_right(BY_HAND)
    assert shares.dtype == torch.float64
    expected = torch.tensor([[0.7, 0.6, 0.4], [0.6, 0.6, 0.4], [0.4, 0.4, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(shares, expected)


def test_parts_of_the_images_add_up() -> None:
    """What each process counts, weighted by its images, is the whole."""
    correct = answers(50)
    parts = correct[:20], correct[20:]
    shares = sum(len(part) * shares_right(part) for part in parts) / 50
    found = of_shares(shares)
    assert list(found) == ["agreement", "disagreement", "q_statistic"]
    assert list(found.values()) == pytest.approx([measure(correct).item() for measure in MEASURES])


@pytest.mark.parametrize("value", [0, 1])
def test_all_right_or_all_wrong_is_undefined(value: int) -> None:
    correct = torch.full((49, 3), value)
    assert interrater_agreement(correct).isnan()
    assert q_statistic(correct).isnan()
    assert of_shares(shares_right(correct)) == {"agreement": None, "disagreement": 0.0, "q_statistic": None}


def test_a_pair_without_q_is_left_out() -> None:
    correct = answers(49, 3)
    correct[:, 0] = True
    assert q_statistic(correct).item() == pytest.approx(naive_pairs(correct)[1])
    assert q_statistic(correct).item() == pytest.approx(q_statistic(correct[:, 1:]).item())
    assert q_statistic(correct[:, :2]).isnan()


@pytest.mark.parametrize("shape", [(0, 3), (5, 1), (5,), (2, 3, 4)])
def test_what_has_no_diversity(shape: tuple[int, ...]) -> None:
    for measure in MEASURES:
        with pytest.raises(ValueError, match=r"one image or more and two classifiers or more; got shape"):
            measure(torch.ones(shape))


def test_values_and_shares_are_checked() -> None:
    with pytest.raises(ValueError, match="other values"):
        disagreement(torch.tensor([[0.5, 1.0]]))
    for shape in ((1, 1), (2, 3), (4,)):
        with pytest.raises(ValueError, match=r"expected \(T, T\) shares of two classifiers or more"):
            of_shares(torch.ones(shape))
