"""The display of progress while a network trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .evaluate import Measures

REFRESH = 0.2
"""Seconds between two looks at the loss: reading it waits for the device."""


class Display:
    """A live bar on a terminal, a plain line an epoch elsewhere, nothing when quiet.

    Args:
        title: of the run, before each line.
        quiet: print nothing.
    """

    def __init__(self, title: str = "", quiet: bool = False) -> None:
        self.title = title
        self.quiet = quiet
        # Names and paths are the user's: brackets and colons in them are no markup.
        self.console = Console(stderr=True, markup=False, emoji=False)
        self.live = self.console.is_terminal and not quiet
        self.remaining = TimeRemainingColumn()
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.seen = 0.0
        self.phases: list[str] = []

    def say(self, message: str) -> None:
        """Print a line."""
        if not self.quiet:
            self.insist(message)

    def insist(self, message: str) -> None:
        """Print a line even when quiet: something that was asked for is not done."""
        try:
            self._print(f"{self.title} {message}".strip())
        except BrokenPipeError:
            # Whoever read the lines has gone; the training does not end for that.
            self.quiet = True

    def _print(self, line: str) -> None:
        if self.live:
            self.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def begin(self, phase: str, steps: int, done: int) -> None:
        """Start the bar of a phase of ``steps`` updates, ``done`` of which are finished."""
        self.phases.append(phase)
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            self.remaining,
            TextColumn("left", markup=False),
            console=self.console,
            # Speed is estimated from samples of any age: without a terminal there is one an epoch.
            speed_estimate_period=float("inf"),
            disable=not self.live,
        )
        self.task = self.bar.add_task(f"{self.title} {phase}".strip(), total=steps, completed=done, text="")
        # The first sample of the speed starts here.
        self.bar.advance(self.task, 0)
        self.bar.start()

    def due(self) -> bool:
        """Whether the bar is due for an update."""
        return self.live and self.bar is not None and time.monotonic() - self.seen >= REFRESH

    def step(self, done: int, epoch: str, losses: Mapping[str, float], speed: float) -> None:
        """Show an update on the bar: its epoch, the mean losses and the images per second."""
        if self.bar is not None:
            text = f"epoch {epoch}  {_terms(losses)}  {speed:,.0f} images/s "
            self.bar.update(self.task, completed=done, text=text)
            self.seen = time.monotonic()

    def epoch(self, done: int, record: Mapping[str, Any], epochs: int, measures: Measures) -> None:
        """Print the line of an epoch that has ended with this record."""
        left = ""
        if self.bar is not None:
            self.bar.update(self.task, completed=done)
            left = f"  {self.remaining.render(self.bar.tasks[0]).plain} left"
        title, unit = measures.headline.title, measures.headline.unit
        measured = "".join(
            f"  {split} {title} {measures.headline_of(record[split]):.2f} {unit}".rstrip()
            for split in ("train", "val", "test")
            if record.get(split)
        )
        # The line of a first phase needs no name: there may be no other.
        phase = f"{self.phases[-1]} " if len(self.phases) > 1 else ""
        self.say(
            f"{phase}epoch {record['epoch']}/{epochs}  {_terms(record['losses'])}{measured}  "
            f"{record['images_per_s']:,.0f} images/s{left}"
        )

    def end(self) -> None:
        """The phase has ended, or was interrupted: no bar any more."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _terms(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
