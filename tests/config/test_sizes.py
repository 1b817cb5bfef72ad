"""Sizes of images: a side, or height and width, with one spelling for each."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cohobate.config.groups import Images
from cohobate.config.sizes import shown_size, size_of


@pytest.mark.parametrize(
    ("given", "kept"),
    [(32, 32), ("32", 32), ([32], 32), (("32",), 32), ([32, 32], 32), ((90, 120), (90, 120)), (None, None)],
)
def test_one_size_has_one_spelling(given: Any, kept: Any) -> None:
    assert Images(image_size=given).image_size == kept


def test_height_comes_first() -> None:
    assert size_of(90) == (90, 90)
    assert size_of((90, 120)) == (90, 120)
    assert shown_size((90, 120)) == "90 x 120"


@pytest.mark.parametrize("wrong", [0, (0, 4), -1, (3, -3)])
def test_a_side_is_one_or_more(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="a side in pixels is 1 or more, got"):
        Images(image_size=wrong)


@pytest.mark.parametrize("wrong", [(1, 2, 3), ()])
def test_a_size_has_one_or_two_sides(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="a size is a side in pixels, or height,width; got"):
        Images(image_size=wrong)
