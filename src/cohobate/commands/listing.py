"""``cohobate list``: the methods, models, data sets and set-ups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import tyro

from ..config.grammar import text
from ..config.words import count
from .console import show

if TYPE_CHECKING:
    from rich.table import Table

Listing = tuple["Table", list[str]]
"""A table, and the lines below it."""


def methods() -> Listing:
    """Every method, what it does, and its options."""
    from rich.table import Table

    from ..recipes.catalogue import METHODS, SEGMENTING
    from ..recipes.options import own_options
    from ..recipes.recipe import find

    table = Table("method", "masks", "what it does", "its options")
    for name in METHODS:
        masks = "yes" if name in SEGMENTING else ""
        table.add_row(name, masks, find(name).summary, " ".join(own_options(name)))
    return table, [
        "masks: learns from a label for every pixel too",
        "terms add up: kd+at, dkd+crd ...; file.py:Class   a method of your own",
    ]


def models() -> Listing:
    """Every built-in network with its sizes, and the libraries that have more."""
    from ..models.build import dense_options
    from ..models.registry import DENSE_NETWORKS
    from ..report.tables.terminal import networks_table
    from .networks import built_in, libraries

    after = [f"{name}:NAME   any of its networks ({have})" for name, have in libraries().items()]
    after.append(
        "dense:MODEL   a class for every pixel, on any of these; options of its pyramid and head: "
        + " ".join(dense_options())
    )
    after += [f"{name}   dense:{entry.backbone}, {entry.source}" for name, entry in DENSE_NETWORKS.items()]
    after.append("file.py:function   your own; `cohobate inspect MODEL` shows the map of any of them")
    return networks_table(built_in(), "at 100 classes, 32 x 32"), after


def data() -> Listing:
    """Every data set by name."""
    from rich.table import Table

    from ..data.sets import SETS

    table = Table("data", "what it is")
    for name, entry in SETS.items():
        table.add_row(name, f"{entry.title}; {count(entry.classes, 'class')}; {entry.images}")
    table.add_row("FOLDER", "train/<class>/, val/<class>/ and test/<class>/ with images")
    table.add_row("FILE.npz", "arrays x and y, x_val and y_val, x_test and y_test (docs/AUGMENTATION.md)")
    return table, []


def setups() -> Listing:
    """Every published set-up with its options, and those of single methods."""
    from rich.table import Table

    from ..papers import setups as published

    table = Table("set-up", "what it is", "its options")
    for name, setup in published.setups().items():
        following = {published.spec(*each[:2]): each[2] for each in setup.following}
        own = {"": setup.options, **setup.methods, **following}
        listed = (
            " ".join([f"{method}:"] * bool(method) + [f"{key}={text(value)}" for key, value in some.items()])
            for method, some in own.items()
        )
        table.add_row(name, setup.source, "; ".join(listed))
    return table, []


LISTS: dict[str, Callable[[], Listing]] = {
    "methods": methods,
    "models": models,
    "data": data,
    "setups": setups,
}


def main(arguments: list[str]) -> None:
    """List the names of one kind: methods, models, data or setups."""

    def listing(kind: tyro.conf.Positional[Literal["methods", "models", "data", "setups"]]) -> None:
        """List the methods, networks, data sets or published set-ups that can be named.

        Args:
            kind: Kind of names to list.
        """
        table, after = LISTS[kind]()
        show(table)
        print("\n".join(after))

    tyro.cli(listing, args=arguments, prog="cohobate list")
