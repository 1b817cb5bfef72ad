"""Sizes of images: a side, or height and width, with one spelling for each."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cohobate.config.checking import checked
from cohobate.config.groups import Images
from cohobate.config.sizes import shown_size, size_of


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (32, 32),
        ("32", 32),
        ([32], 32),
        (("32",), 32),
        ([32, 32], 32),
        ((90, 120), (90, 120)),
        (None, None),
        (("90", "120"), (90, 120)),
        (("90x120",), (90, 120)),  # as folders of runs have it, and as it comes from the command line
        ("90x120", (90, 120)),
        ("90 x 120", (90, 120)),  # as tables have it
        (("90", "x", "120"), (90, 120)),
        ("90X120", (90, 120)),
        ("32x32", 32),
    ],
)
def test_one_size_has_one_spelling(given: Any, kept: Any) -> None:
    assert Images(image_size=given).image_size == kept


def test_height_comes_first() -> None:
    assert size_of(90) == (90, 90)
    assert size_of((90, 120)) == (90, 120)
    assert shown_size((90, 120)) == "90 x 120"


@pytest.mark.parametrize(
    ("wrong", "said"), [(0, "0"), ((0, 4), "0,4"), (-1, "-1"), ((3, -3), "3,-3"), ("0x4", "0x4")]
)
def test_a_side_is_one_or_more(wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^train: image_size: a side in pixels is 1 or more, got {said}$"):
        checked("train", Images, {"image_size": wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((1, 2, 3), "1,2,3"),
        ((), ""),
        (("45", ""), "45,"),
        (("45", "abc"), "45,abc"),
        ("45.5", "45.5"),
        ("90x", "90x"),
        ("x120", "x120"),
        ("90x120x3", "90x120x3"),
        (True, "True"),
    ],
)
def test_a_size_has_one_or_two_sides(wrong: Any, said: str) -> None:
    says = f"train: image_size: a size is a side in pixels, as 32, or height,width, as 90,120; got {said}"
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        checked("train", Images, {"image_size": wrong})


@pytest.mark.parametrize("given", [("0.5", "2"), [0.5, 2], None])
def test_a_scale_is_a_range(given: Any) -> None:
    assert Images(random_scale=given).random_scale == (None if given is None else (0.5, 2))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(("0.5",), "0.5"), (0.5, "0.5"), (("a", "b"), "a,b"), ((1, 2, 3), "1,2,3"), (("nan", "2"), "nan,2")],
)
def test_a_scale_is_two_factors(wrong: Any, said: str) -> None:
    says = f"train: random_scale: give the smallest and the largest factor, as 0.5,2; got {said}"
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        checked("train", Images, {"random_scale": wrong})
