"""What a person sees while a network trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

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
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and not quiet
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.seen = 0.0

    def say(self, message: str) -> None:
        if self.quiet:
            return
        if self.live:
            self.console.print(f"{self.title} {message}".strip(), markup=False, highlight=False)
        else:
            print(f"{self.title} {message}".strip(), file=sys.stderr, flush=True)

    def begin(self, phase: str, steps: int, done: int) -> None:
        """A phase of ``steps`` updates begins, ``done`` of them already behind."""
        self.began, self.start, self.steps = time.monotonic(), done, steps
        if not self.live:
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        self.bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=self.console)
        self.task = self.bar.add_task(f"{self.title} {phase}".strip(), total=steps, completed=done, text="")
        self.bar.start()

    def due(self) -> bool:
        """Whether the bar wants news."""
        return self.bar is not None and time.monotonic() - self.seen >= REFRESH

    def step(self, done: int, epoch: str, losses: Mapping[str, float], speed: float) -> None:
        if self.bar is not None:
            text = f"epoch {epoch}  {_terms(losses)}  {speed:,.0f} images/s  {self._left(done)} left"
            self.bar.update(self.task, completed=done, text=text)
            self.seen = time.monotonic()

    def epoch(self, done: int, record: Mapping[str, Any], epochs: int) -> None:
        """An epoch has ended with this record of the metrics."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done)
        measured = "".join(
            f"  {split} error {next(iter(record[split].values()))['top1_error']:.2f} %"
            for split in ("train", "val", "test")
            if record.get(split)
        )
        self.say(
            f"epoch {record['epoch']}/{epochs}  {_terms(record['losses'])}{measured}  "
            f"{record['images_per_s']:,.0f} images/s  {self._left(done)} left"
        )

    def end(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _left(self, done: int) -> str:
        fresh = done - self.start
        if fresh <= 0:
            return "?"
        seconds = (time.monotonic() - self.began) / fresh * (self.steps - done)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours}h{minutes:02d}m"
        return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def _terms(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
