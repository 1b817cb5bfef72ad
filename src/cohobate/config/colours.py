"""Colours: as they are written on the command line, and those in which classes of masks are shown."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from math import dist
from typing import NamedTuple

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

NAMED = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}


def colour(text: str) -> Colour:
    """Red, green and blue, 0 to 255, of a name or of ``#rrggbb``.

    Raises:
        ValueError: neither.
    """
    if text in NAMED:
        return NAMED[text]
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError(f"a colour is {', '.join(NAMED)} or #rrggbb, got {text!r}")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


# ---------------------------------------------------------------- classes

IGNORED_COLOUR: Colour = (255, 255, 255)
"""In which pixels that are not counted are shown; no class has it."""

MOST_CLASSES = 255
"""That a mask of bytes has beside the value for pixels that are not counted."""

OKABE_ITO: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermillion
    (204, 121, 167),  # reddish purple
    (0, 0, 0),  # black
)
"""Of the first classes: the palette of Okabe and Ito (2008), told apart by the colour-blind too."""

LEVELS = (0, 36, 73, 109, 146, 182, 219, 255)
"""Of each channel of the colours from which those of further classes are chosen."""
DARKEST = 0.4
"""Lightness in Oklab below which none of these is: dark colours look alike beside one another."""


def class_colours(classes: int) -> tuple[Colour, ...]:
    """The colours of the classes 0 to K - 1; that of a class does not depend on K.

    The first eight are :data:`OKABE_ITO`. Each further one is, of 512 colours evenly spaced in RGB less
    the darkest, the one that is farthest from all before it and from :data:`IGNORED_COLOUR`. The distance
    of two colours is the smallest of those in Oklab (Ottosson, 2020) as they are seen by trichromats, in
    protanopia and in deuteranopia (simulated after Machado et al., 2009).

    Args:
        classes: K, 1 to 255.

    Raises:
        ValueError: another number of classes.
    """
    if not 1 <= classes <= MOST_CLASSES:
        raise ValueError(f"masks have 1 to {MOST_CLASSES} classes, got {classes}")
    return OKABE_ITO[:classes] if classes <= len(OKABE_ITO) else _spread()[:classes]


@cache
def _spread() -> tuple[Colour, ...]:
    chosen = list(OKABE_ITO)
    every: dict[Colour, tuple[Lab, ...]] = {each: seen(each) for each in product(LEVELS, LEVELS, LEVELS)}
    grid = {each: views for each, views in every.items() if views[0].lightness >= DARKEST}
    taken = [seen(each) for each in (*chosen, IGNORED_COLOUR)]
    nearest = {each: min(distance(views, other) for other in taken) for each, views in grid.items()}
    while len(chosen) < MOST_CLASSES:
        farthest = max(nearest, key=nearest.__getitem__)
        chosen.append(farthest)
        views = grid[farthest]
        nearest = {each: min(near, distance(grid[each], views)) for each, near in nearest.items()}
    return tuple(chosen)


class Lab(NamedTuple):
    """A colour in Oklab: lightness, and two opponent axes."""

    lightness: float
    a: float
    b: float


VISIONS = (
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
)
"""Linear RGB -> what looks the same to others: trichromats, protanopes, deuteranopes."""

TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def seen(of: Colour) -> tuple[Lab, ...]:
    """A colour in Oklab, to each of :data:`VISIONS`."""
    linear = [_linear(value / 255) for value in of]
    return tuple(_lab([min(1.0, max(0.0, value)) for value in _times(eye, linear)]) for eye in VISIONS)


def distance(one: tuple[Lab, ...], other: tuple[Lab, ...]) -> float:
    """Of two colours as :func:`seen`: the smallest one, 0 to about 1."""
    return min(map(dist, one, other))


def _lab(linear: list[float]) -> Lab:
    return Lab(*_times(TO_LAB, [value ** (1 / 3) for value in _times(TO_CONES, linear)]))


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _times(matrix: tuple[tuple[float, ...], ...], vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
