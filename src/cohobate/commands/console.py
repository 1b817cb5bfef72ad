"""Printing of tables and text in a terminal or a file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 120
"""Columns of a file or a pipe, which has no width of its own."""


def show(output: RenderableType) -> None:
    """Print for a terminal or a file, brackets and colons as they are: names and paths are the user's."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    # A file or a pipe has no width of its own: nothing need be cut there.
    console.width = console.width if console.is_terminal else max(console.width, WIDTH)
    console.print(output)


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say on a terminal what takes its time, for as long as it does; elsewhere nothing.

    Nothing is to be printed meanwhile.

    Args:
        what: the work, whose end cannot be foreseen: ``capturing the network``.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, markup=False, emoji=False)
    if not console.is_terminal:
        yield
        return
    with console.status(Text(f"{what} ...")):
        yield


def text_of(output: RenderableType) -> str:
    """The same as text for a file."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, file=io.StringIO(), width=WIDTH)
    console.print(output)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]
