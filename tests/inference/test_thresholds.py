"""The search for a threshold against brute force, and against the cascade that uses it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from naive import softmax
from torch import Tensor, nn

from cohobate import Cascade
from cohobate.inference.search import candidates
from cohobate.inference.thresholds import (
    Point,
    by_energy,
    cheapest,
    curve,
    exits_at,
    most_accurate,
    point,
)

Reading = Literal["sum", "added"]
READINGS: tuple[Reading, ...] = ("sum", "added")
MACS = (40.0, 27.0, 13.0)


def drawn(
    images: int = 40, stages: int = 3, classes: int = 4, seed: int = 0, ties: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits of the prefixes, and labels that later prefixes know better; with ties, each row three times."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (images,), generator=generator)
    parts = 2 * torch.randn(stages, images, classes, generator=generator)
    parts[:, torch.arange(images), y] += 1
    if ties:
        parts = parts[:, torch.arange(images) // 3]
    return parts.cumsum(dim=0), y


def energy_of(row: Sequence[float]) -> float:
    return sum(p**2 for p in softmax(row))


def energies_of(logits: Tensor, j: int, reading: Reading) -> list[float]:
    """E_0, E_1 ... of image j, as algorithm 2 and eq. 11 compute them."""
    rows = logits[:, j].double().tolist()
    if reading == "sum":
        return [energy_of(row) for row in rows]
    residuals = [rows[0]] + [[b - a for a, b in zip(*two, strict=True)] for two in pairwise(rows)]
    energies = [energy_of(row) for row in residuals]
    return [sum(energies[: i + 1]) for i in range(len(energies))]


def exit_of(energies: Sequence[float], threshold: float) -> int:
    i = 0
    while threshold >= energies[i] and i < len(energies) - 1:
        i += 1
    return i


def brute(logits: Tensor, y: Tensor, macs: Sequence[float], threshold: float, reading: Reading) -> Point:
    n, images = len(logits) - 1, len(y)
    exits = [exit_of(energies_of(logits, j, reading), threshold) for j in range(images)]
    right = sum(int(logits[exits[j], j].argmax()) == int(y[j]) for j in range(images))
    cost = sum(sum(macs[: last + 1]) for last in exits) / images
    return Point(threshold, 100 * right / images, cost, tuple(exits.count(i) / images for i in range(n + 1)))


def brute_points(logits: Tensor, y: Tensor, macs: Sequence[float], reading: Reading) -> list[Point]:
    """With every energy that occurs as the threshold, and between every two."""
    occurring = sorted({e for j in range(len(y)) for e in energies_of(logits, j, reading)})
    between = [(a + b) / 2 for a, b in pairwise(occurring)]
    tried = {0.0, 1.0, *occurring, *between}
    thresholds = [*sorted(t for t in tried if t <= 1), math.inf]
    return [brute(logits, y, macs, threshold, reading) for threshold in thresholds]


def same(one: Point, two: Point) -> None:
    assert one.accuracy == two.accuracy
    assert one.macs == pytest.approx(two.macs, rel=1e-12)
    assert one.exits == pytest.approx(two.exits, abs=1e-12)


# ---------------------------------------------------------------- against loops


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.77, 0.999, 1.0, math.inf])
def test_exits_and_points_against_loops(threshold: float, reading: Reading) -> None:
    logits, y = drawn()
    exits = exits_at(logits, threshold, energy=reading)
    expected = [exit_of(energies_of(logits, j, reading), threshold) for j in range(len(y))]
    assert exits.tolist() == expected
    assert exits.dtype == torch.int64
    found = point(logits, y, MACS, threshold, energy=reading)
    assert found.threshold == threshold
    same(found, brute(logits, y, MACS, threshold, reading))


def test_threshold_keeps_its_float64() -> None:
    logits, y = drawn()
    assert point(logits, y, MACS, 0.1).threshold == 0.1


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_searches_find_what_brute_force_finds(stages: int, ties: bool, reading: Reading) -> None:
    for seed in range(3):
        logits, y = drawn(25, stages, seed=seed, ties=ties)
        macs = MACS[:stages]
        everything = brute_points(logits, y, macs, reading)
        for wish in sorted({p.accuracy for p in everything}):
            best = min((p for p in everything if p.accuracy >= wish), key=lambda p: (p.macs, -p.accuracy))
            found = cheapest(logits, y, macs, wish, energy=reading)
            same(found, best)
            same(found, brute(logits, y, macs, found.threshold, reading))
        for limit in (macs[0], 45.5, 60.0, sum(macs)):
            allowed = [p for p in everything if p.macs <= limit]
            best = min(allowed, key=lambda p: (-p.accuracy, p.macs))
            found = most_accurate(logits, y, macs, limit, energy=reading)
            same(found, best)
            same(found, brute(logits, y, macs, found.threshold, reading))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_is_every_way_in_which_the_images_can_leave(ties: bool, reading: Reading) -> None:
    logits, y = drawn(30, ties=ties)
    found = curve(logits, y, MACS, energy=reading, points=10_000)
    thresholds = [p.threshold for p in found]
    assert thresholds == sorted(set(thresholds))
    assert all(0 <= t <= 1 for t in thresholds[:-1])
    for each in found:
        same(each, brute(logits, y, MACS, each.threshold, reading))
    ways = {p.exits for p in brute_points(logits, y, MACS, reading)}
    assert {p.exits for p in found} == ways
    assert len(found) == len(ways)


@pytest.mark.parametrize("points", [2, 3, 7, 20])
@pytest.mark.parametrize("reading", READINGS)
def test_a_thinned_curve_has_both_ends_and_even_costs(points: int, reading: Reading) -> None:
    logits, y = drawn(400)
    whole, found = (curve(logits, y, MACS, energy=reading, points=n) for n in (10_000, points))
    assert (found[0], found[-1]) == (whole[0], whole[-1])
    assert (found[0].threshold, found[-1].threshold) == (0.0, math.inf)
    assert (found[0].exits, found[-1].exits) == ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert set(found) <= set(whole)
    assert len(found) <= points
    if reading == "sum":
        assert len(found) == points
        for i, each in enumerate(found):
            wanted = found[0].macs + i * (found[-1].macs - found[0].macs) / (points - 1)
            nearest = min(abs(other.macs - wanted) for other in whole)
            assert abs(each.macs - wanted) == pytest.approx(nearest, abs=1e-9)


def test_the_default_curve_has_101_points() -> None:
    logits, y = drawn(400)
    assert len(curve(logits, y, MACS)) == 101


def test_by_energy_is_eq_10() -> None:
    logits, _ = drawn()
    expected = sum(energy_of(row) for row in logits[-1].tolist()) / logits.shape[1]
    assert by_energy(logits) == pytest.approx(expected, rel=1e-12)


def test_of_equal_costs_the_most_accurate_is_taken() -> None:
    """Where later networks cost nothing, all thresholds cost the same."""
    logits, y = drawn()
    macs = (1.0, 0.0, 0.0)
    top = max(p.accuracy for p in brute_points(logits, y, macs, "sum"))
    assert cheapest(logits, y, macs, 0.0).accuracy == most_accurate(logits, y, macs, 1.0).accuracy == top
    assert brute(logits, y, macs, 0.0, "sum").accuracy < top


# ---------------------------------------------------------------- in the cascade


class Given(nn.Module):
    """A network whose logits are one column of the images."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.i = i

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.i]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_the_cascade_leaves_as_the_search_says(scale: float, reading: Reading) -> None:
    """Float32 logits; with the larger scale most energies are 1 in float32."""
    logits, y = drawn(200)
    parts = scale * torch.cat([logits[:1], logits.diff(dim=0)])
    prefixes = parts.cumsum(dim=0)
    cascade = Cascade([Given(i) for i in range(3)], 0.5, energy=reading).eval()
    for each in curve(prefixes, y, MACS, energy=reading, points=60):
        cascade.threshold = each.threshold
        exits = cascade.exits(parts.transpose(0, 1)).exits
        assert torch.equal(exits, exits_at(prefixes, each.threshold, energy=reading))
        assert exits.bincount(minlength=3).tolist() == [round(200 * share) for share in each.exits]


def test_thresholds_stand_midway_between_energies() -> None:
    logits, y = drawn(10, stages=2)
    energies = sorted(energies_of(logits, j, "sum")[0] for j in range(10))
    middles = [(a + b) / 2 for a, b in pairwise(energies)]
    found = [p.threshold for p in curve(logits, y, MACS[:2])]
    assert found == pytest.approx([0.0, *middles, math.inf], rel=1e-12)


def test_energies_without_a_number_between_them() -> None:
    """The lower one is the threshold: the image of the higher one leaves, its own stays."""
    one = math.nextafter(0.5, 1)
    two = math.nextafter(one, 1)
    assert one + (two - one) / 2 == two
    energies = torch.tensor([[two, one, one]], dtype=torch.float64)
    assert candidates(energies).tolist() == [0.0, one, math.inf]


def test_no_threshold_is_above_1() -> None:
    """Energies that are added up may be."""
    energies = torch.tensor([[0.5, 0.8, 0.9, 0.7], [1.2, 0.9, 1.4, 1.3]], dtype=torch.float64)
    expected = [0.0, 0.6, 0.75, 0.85, 1.0, math.inf]
    assert candidates(energies).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("search", "wish"), [(cheapest, 28.0), (most_accurate, 60.0)])
def test_fast_on_50_000_images(search: Callable[..., Point], wish: float) -> None:
    logits, y = drawn(50_000, classes=10)
    start = time.process_time()
    search(logits, y, MACS, wish)
    assert time.process_time() - start < 1


# ---------------------------------------------------------------- wishes that nothing meets


def test_an_accuracy_that_no_threshold_has() -> None:
    logits, y = drawn()
    top = max(brute_points(logits, y, MACS, "sum"), key=lambda p: p.accuracy)
    with pytest.raises(ValueError, match=r"99\.9 percent on these images; the nearest is") as error:
        cheapest(logits, y, MACS, 99.9)
    assert f"the nearest is {top.accuracy:.6g} percent" in str(error.value)
    for wish in (math.nan, 101.0):
        with pytest.raises(ValueError, match=f"an accuracy of {wish} percent"):
            cheapest(logits, y, MACS, wish)


@pytest.mark.parametrize("limit", [39.9, math.nan, -1])
def test_a_cost_that_no_threshold_keeps(limit: float) -> None:
    logits, y = drawn()
    message = rf"within {limit} multiply-accumulates an image; the nearest is 40, the first network alone"
    with pytest.raises(ValueError, match=message):
        most_accurate(logits, y, MACS, limit)


# ---------------------------------------------------------------- input

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an image less": (
        {"logits": torch.zeros(3, 4)},
        r"\(n \+ 1, N, K\); got torch.float32 of shape \(3, 4\)",
    ),
    "an empty D_v": ({"logits": torch.zeros(3, 0, 4)}, r"one image or more.* got .* shape \(3, 0, 4\)"),
    "no stage": ({"logits": torch.zeros(0, 5, 4)}, r"got .* shape \(0, 5, 4\)"),
    "whole numbers": ({"logits": torch.zeros(3, 40, 4, dtype=torch.int64)}, "got torch.int64"),
    "labels of another number": ({"y": torch.zeros(39, dtype=torch.int64)}, r"ids of the 40 images.*\(39,\)"),
    "soft labels": ({"y": torch.zeros(40, 4)}, "ids of the 40 images.*got torch.float32"),
    "a label too large": ({"y": torch.full((40,), 4)}, "ids from 0 to 3, got 4"),
    "a label left out": ({"y": torch.full((40,), -100)}, "ids from 0 to 3, got -100"),
    "two costs": ({"macs": (1.0, 2.0)}, r"the 3 networks S_0, R_1.* got \[1.0, 2.0\]"),
    "a negative cost": ({"macs": (1.0, -2.0, 3.0)}, r"0 or more; got \[1.0, -2.0, 3.0\]"),
    "a cost without end": ({"macs": (1.0, math.inf, 3.0)}, "0 or more; got"),
    "another reading": ({"energy": "mean"}, "energy must be one of 'sum', 'added', got 'mean'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(name: str) -> None:
    given, message = WRONG[name]
    logits, y = drawn()
    made = {"logits": logits, "y": y, "macs": MACS, "energy": "sum", **given}
    with pytest.raises(ValueError, match=message):
        curve(**made)
    if "logits" in given:
        for function in (by_energy, lambda z: exits_at(z, 0.5)):
            with pytest.raises(ValueError, match=message):
                function(made["logits"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_numbers(value: float) -> None:
    logits, y = drawn()
    logits[1, 7, 2] = value
    with pytest.raises(ValueError, match="the logits of S_1 for image 7 are not finite"):
        curve(logits, y, MACS)
    with pytest.raises(ValueError, match="the logits of S_1 for image 7"):
        exits_at(logits, 0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan])
def test_a_threshold_that_is_none(threshold: float) -> None:
    logits, y = drawn()
    message = r"an energy in \[0, 1\], or math.inf"
    with pytest.raises(ValueError, match=message):
        exits_at(logits, threshold)
    with pytest.raises(ValueError, match=message):
        point(logits, y, MACS, threshold)


def test_a_curve_of_one_point() -> None:
    logits, y = drawn()
    with pytest.raises(ValueError, match="2 points or more, got 1"):
        curve(logits, y, MACS, points=1)
