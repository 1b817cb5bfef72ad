"""The share of each class in the pixels of pictures: as lines of CSV, lines of JSON, and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...config.colours import Colour
from ...config.text import as_text, shown
from .predictions import csv_text, rounded

if TYPE_CHECKING:
    from rich.table import Table

LISTED = 5
"""Classes of a picture in the table, those with the largest shares."""


class Shares(NamedTuple):
    """What a picture shows.

    Attributes:
        path: of the picture, as the user gave it.
        mask, overlay: the files that were written, below their folder; of the overlay None if there is none.
        shares: of each class in all pixels, 0 to 1, in the order of the classes.
    """

    path: str
    mask: str
    overlay: str | None
    shares: Sequence[float]


def csv_of(each: Sequence[Shares], classes: Sequence[str]) -> str:
    """path, mask, overlay where there are overlays, and share_CLASS for each class."""
    overlays = any(one.overlay is not None for one in each)
    header = ["path", "mask", *(["overlay"] if overlays else []), *(f"share_{name}" for name in classes)]
    return csv_text([header, *([*_files(one).values(), *map(rounded, one.shares)] for one in each)])


def json_of(each: Sequence[Shares], classes: Sequence[str]) -> str:
    """An object a line: path, mask, overlay if there is one, and shares by the names of the classes."""
    records = (
        {**_files(one), "shares": dict(zip(classes, map(rounded, one.shares), strict=True))} for one in each
    )
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _files(of: Shares) -> dict[str, str]:
    named = {"path": of.path, "mask": of.mask, "overlay": of.overlay}
    return {key: as_text(value) for key, value in named.items() if value is not None}


def legend(classes: Sequence[str], colours: Sequence[Colour]) -> str:
    """Lines of CSV: number of a class in the masks, its name, and its colour, ``#rrggbb``.

    A data set of images and masks may have such a file.
    """
    rows = zip(range(len(classes)), classes, map(_hex, colours), strict=True)
    return csv_text([["id", "name", "colour"], *rows])


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def to_rich(each: Sequence[Shares], classes: Sequence[str], title: str) -> Table:
    """A table for a terminal: of each picture the classes with the largest shares."""
    from rich.table import Table

    table = Table(title=title)
    for name in ("path", "mask", "classes"):
        table.add_column(name, overflow="fold")
    for one in each:
        table.add_row(shown(one.path), shown(one.mask), _largest(one.shares, classes))
    return table


def _largest(shares: Sequence[float], classes: Sequence[str]) -> str:
    order = sorted((k for k in range(len(shares)) if shares[k] > 0), key=lambda k: -shares[k])
    rest = sum(shares[k] for k in order[LISTED:])
    said = [f"{shown(classes[k])} {100 * shares[k]:.1f} %" for k in order[:LISTED]]
    return ", ".join(said + ([f"{len(order) - LISTED} more {100 * rest:.1f} %"] if order[LISTED:] else []))
