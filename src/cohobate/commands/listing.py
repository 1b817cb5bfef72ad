"""``cohobate list``: the methods, models, data sets and set-ups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from ..config.grammar import text
from ..config.words import count
from .console import show

if TYPE_CHECKING:
    from rich.table import Table

Listing = tuple["Table", list[str]]
"""A table, and the lines below it."""


OTHERS = {
    "FOLDER": "train/<class>/, val/<class>/ and test/<class>/ with images; or images/ and masks/ of the same "
    "names, and classes.csv (docs/SEGMENTATION.md)",
    "FILE.npz": "arrays x and y, x_val and y_val, x_test and y_test (docs/AUGMENTATION.md)",
    "hf:NAME": "of the Hugging Face hub, hf:./FOLDER as save_to_disk has saved it; with :CONFIG, "
    ":image=COLUMN and :label=COLUMN where they are needed (docs/DATA.md)",
}
"""What ``--data`` takes beside names."""


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


def data(root: Path | None = None) -> Listing:
    """Every data set by name; with a root, whether it is there."""
    from rich.table import Table
    from rich.text import Text

    from ..data.sets import SETS

    table = Table("data", "what it is, what is read, where to get it", show_lines=True)
    for name, entry in SETS.items():
        facts = [
            f"{entry.title}; {count(entry.classes, 'class')}; {entry.images}",
            f"read: {entry.layouts}",
            f"from: {entry.address}",
            f"licence: {entry.licence}",
            *([] if root is None else [f"here: {_found(name, root)}"]),
        ]
        table.add_row(name, Text("\n".join(facts), overflow="fold"))
    for name, what in OTHERS.items():
        table.add_row(name, Text(what, overflow="fold"))
    where = "`cohobate list data --data-root FOLDER` says which of them are in a folder"
    return table, [where] if root is None else []


def _found(name: str, root: Path) -> str:
    from .found import found

    where = root.expanduser().absolute()
    return found(name, where) or f"not in {where}"


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

    def listing(
        kind: tyro.conf.Positional[Literal["methods", "models", "data", "setups"]],
        data_root: Path | None = None,
    ) -> None:
        """List the methods, networks, data sets or published set-ups that can be named.

        Args:
            kind: Kind of names to list.
            data_root: Of data: folder to look in for each of them.
        """
        if data_root is not None and kind != "data":
            raise ValueError(f"--data-root is for `cohobate list data`, got `list {kind}`; leave it out")
        table, after = data(data_root) if kind == "data" else LISTS[kind]()
        show(table)
        print("\n".join(after))

    tyro.cli(listing, args=arguments, prog="cohobate list")
