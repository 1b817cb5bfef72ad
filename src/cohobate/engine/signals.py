"""Reasons to stop at the next checkpoint: a signal, or the end of the time allowed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..config.words import count


def over(minutes: float) -> str:
    """the 5 minutes given are over"""
    return f"the {count(minutes, 'minute')} given {'is' if minutes == 1 else 'are'} over"


class Stopper:
    """Tells whether the run should stop, and why.

    Args:
        minutes: from now; None for no limit.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.minutes = minutes
        self.signal: signal.Signals | None = None

    def wanted(self) -> bool:
        return self.signal is not None or (self.deadline is not None and time.monotonic() >= self.deadline)

    @property
    def reason(self) -> str:
        return self.signal.name if self.signal else over(self.minutes or 0)

    @property
    def code(self) -> int:
        """Exit status: 128 + the signal's number; 75 (try again later) when the time was over."""
        return 128 + self.signal if self.signal else 75

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C ask to stop; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        watched = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.getsignal(number) for number in watched}

        def ask(number: int, frame: FrameType | None) -> None:
            self.signal = signal.Signals(number)
            for n in watched:
                signal.signal(n, before[n])

        for number in watched:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number in watched:
                signal.signal(number, before[number])
