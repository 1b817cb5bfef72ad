"""The colours of classes: always the same, told apart by all eyes, and none is that of ignored pixels."""

from __future__ import annotations

from itertools import combinations

import pytest

from cohobate.config.colours import IGNORED_COLOUR, OKABE_ITO, VISIONS, class_colours, distance, seen


def test_a_class_keeps_its_colour_whatever_the_number_of_classes() -> None:
    whole = class_colours(255)
    assert all(class_colours(k) == whole[:k] for k in (1, 2, 8, 9, 21, 150))
    assert whole[: len(OKABE_ITO)] == OKABE_ITO


def test_255_different_colours_and_none_is_that_of_ignored_pixels() -> None:
    colours = class_colours(255)
    assert len(set(colours)) == 255
    assert IGNORED_COLOUR not in colours
    assert all(0 <= value <= 255 for colour in colours for value in colour)


@pytest.mark.parametrize(("classes", "least"), [(8, 0.07), (21, 0.07), (40, 0.045)])
def test_colours_are_apart_for_all_eyes(classes: int, least: float) -> None:
    """In Oklab one of grey's 100 steps of lightness is 0.01; at 0.02 two colours can be told apart."""
    views = [seen(colour) for colour in (*class_colours(classes), IGNORED_COLOUR)]
    assert min(distance(a, b) for a, b in combinations(views, 2)) > least


def test_oklab_of_white_black_and_red() -> None:
    """As its author prints them: white (1, 0, 0); the red of sRGB (0.628, 0.225, 0.126)."""
    white, black, red = (seen(colour)[0] for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0)))
    assert white == pytest.approx((1, 0, 0), abs=1e-3)
    assert black == (0, 0, 0)
    assert red == pytest.approx((0.628, 0.225, 0.126), abs=1e-3)


def test_grey_is_the_same_to_all_eyes_and_red_and_green_are_not() -> None:
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for eye in VISIONS for row in eye)
    normal, *others = (
        sum((a - b) ** 2 for a, b in zip(seen((200, 80, 60))[i], seen((110, 120, 50))[i], strict=True)) ** 0.5
        for i in range(len(VISIONS))
    )
    assert all(other < normal for other in others)


@pytest.mark.parametrize("classes", [0, -1, 256])
def test_another_number_of_classes_is_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 255 classes, got {classes}"):
        class_colours(classes)
