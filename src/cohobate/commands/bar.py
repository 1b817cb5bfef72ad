"""A progress bar on stderr, where that is a terminal, and lines above it."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """Counts what is done; as a context manager it is gone at the end.

    Args:
        what: is counted, in plural.
        total: how many there are.
        shown: whether a bar may be drawn; else there are lines only.
    """

    def __init__(self, what: str, total: int, shown: bool = True) -> None:
        # Names and paths are the user's: brackets and colons in them are no markup.
        self._console = Console(stderr=True, markup=False, emoji=False)
        self._live = self._console.is_terminal and shown
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("left", markup=False),
            console=self._console,
            transient=True,
            disable=not self._live,
            # What is written to stdout is for whoever reads that, not for the bar.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(what, total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def reach(self, done: int) -> None:
        """So many are done."""
        self._progress.update(self._task, completed=done)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._live:
            self._console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)
