"""The trackers of a run: one that fails is left out, and the run goes on as if it had not been there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import methodcaller
from pathlib import Path
from typing import Any

from .catalogue import make
from .process import as_it_was
from .tracker import About, Epoch, Tracker
from .values import epochs_of, result_of


class Trackers:
    """Tells trackers what happens in a run.

    Args:
        names: of the trackers; none in all processes but the first.
        about: the run.
        places: name of a tracker -> folder in which it writes.
        say: prints a line for the user.
        apart: restores the random state at the end of its context.
    """

    def __init__(
        self,
        names: Sequence[str],
        about: About,
        places: Callable[[str], Path],
        say: Callable[[str], None],
        apart: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.names, self.about, self.places = names, about, places
        self.say, self.apart = say, apart
        self.working: dict[str, Tracker] = {}
        self.told: int | None = None

    def records(self, records: Sequence[Mapping[str, Any]]) -> None:
        """The records of all epochs so far. The first time the trackers begin, or go on after these."""
        if not self.names:
            return
        epochs = epochs_of(records)
        if self.told is None:
            self._begin(epochs)
        else:
            for epoch in epochs[self.told :]:
                self._each(methodcaller("epoch", epoch))
        self.told = len(epochs)

    def end(self, facts: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
        """The run has finished, with this result and these records."""
        self.records(records)
        self._each(methodcaller("end", len(records), result_of(facts)))

    def stop(self, *, failed: bool) -> None:
        """The run has stopped before its end."""
        self._each(methodcaller("stop", failed=failed))

    def _begin(self, epochs: Sequence[Epoch]) -> None:
        for name in self.names:
            with self._guarded(name):
                tracker = make(name, self.places(name))
                note = tracker.begin(self.about, epochs)
                self.working[name] = tracker
                if note is not None:
                    self.say(f"note: {note}")

    def _each(self, call: Callable[[Tracker], Any]) -> None:
        for name, tracker in list(self.working.items()):
            with self._guarded(name):
                call(tracker)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """What a tracker does concerns nobody else: neither its errors nor what it changes in the process."""
        try:
            with self.apart(), as_it_was():
                yield
        # A tracker may also call sys.exit.
        except (Exception, SystemExit) as error:
            self.working.pop(name, None)
            self.say(f"note: tracking with {name} ends here, the run goes on ({_in_a_line(error)})")


def _in_a_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])
