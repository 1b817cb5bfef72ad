"""Weights & Biases: a run of wandb in the run's folder, offline unless WANDB_MODE says otherwise.

wandb numbers its rows upwards and takes none back. Offline, a run that goes on is therefore written anew,
under the same id, from the records that stand; then what the attempts before had written is removed, so that
a later ``wandb sync`` sends each epoch once. Online, wandb itself leaves out the rows that its server has.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from .tracker import About, Epoch

PROJECT = "cohobate"
PATIENCE = 60.0
"""Seconds to wait for wandb at the end of a run."""

GRACE = 5.0
"""Seconds to wait for its file to be there, and for an answer after that patience."""

SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
}
"""Nothing of the process is captured, and no code is sent."""

OF_SOME_VERSIONS: dict[str, Any] = {
    "finish_timeout": PATIENCE,
    "finish_timeout_raises": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 1.0,
}
"""Settings that not every version has: an end to waiting, and no measurements of the machine."""


class WeightsAndBiases:
    """Writes a run of wandb.

    Args:
        folder: called ``wandb``, as wandb calls it itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run: Any = None
        self.alone = False

    def begin(self, about: About, epochs: Sequence[Epoch]) -> None:
        """See :meth:`cohobate.tracking.tracker.Tracker.begin`."""
        from wandb.sdk import wandb_setup

        # Whoever calls this may have runs of wandb of their own, whose process must not be ended.
        self.alone = getattr(wandb_setup, "_singleton", wandb_setup) is None
        with self._released(always=False):
            self._begin(about, epochs)

    def _begin(self, about: About, epochs: Sequence[Epoch]) -> None:
        # The setting below is the run's alone; this one is of wandb's own errors, too.
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        before = self._files("*")
        # Without an epoch that stands, what is there is of another run, or of an attempt that left nothing.
        id_ = before[-1].stem.removeprefix("run-") if before and epochs else None
        known = {key: value for key, value in OF_SOME_VERSIONS.items() if key in wandb.Settings.model_fields}
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            # The process that writes is another one, with a present folder of its own.
            dir=str(self.folder.parent.resolve()),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            mode=None if os.environ.get("WANDB_MODE") else "offline",
            id=id_,
            name=about.name,
            group=about.group,
            config=dict(about.options),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(**SETTINGS, **known),
        )
        for epoch in epochs:
            self._log(epoch)
        for file in before:
            if file.parent.name.startswith("offline-"):
                file.unlink()
                shutil.rmtree(file.parent, ignore_errors=True)

    def epoch(self, epoch: Epoch) -> None:
        """A row, at once."""
        with self._released(always=False):
            self._log(epoch)

    def _log(self, epoch: Epoch) -> None:
        self.run.log({"phase_name": epoch.phase, **epoch.values}, step=epoch.step, commit=True)

    def end(self, epochs: int, result: Mapping[str, float]) -> None:
        """The result, below ``result/`` of the summary."""
        named = {f"result/{name}": value for name, value in result.items()}
        with self._released(always=True):
            _within(PATIENCE + GRACE, lambda: self.run.summary.update(named))
            self._finish(0)

    def stop(self, *, failed: bool) -> None:
        """Neither way has the run finished."""
        with self._released(always=True):
            self._finish(1)

    def _finish(self, code: int) -> None:
        _within(PATIENCE + GRACE, lambda: self.run.finish(exit_code=code))
        # The process that writes goes on for a moment, and says nothing if it cannot write.
        latest = time.monotonic() + GRACE
        while self.run.offline and not self._files(self.run.id):
            if time.monotonic() > latest:
                raise OSError(f"wandb has written nothing into {self.folder}")
            time.sleep(0.05)

    @contextmanager
    def _released(self, *, always: bool) -> Iterator[None]:
        """Ends the process of wandb, which writes the rest first: always, or where something fails.

        Else it ends with Python, and if it is gone by then, wandb shows where it found that.
        """
        import wandb

        failed = True
        try:
            yield
            failed = False
        finally:
            if self.alone and (always or failed):
                with suppress(*((Exception, SystemExit) if failed else ())):
                    _within(GRACE if failed else PATIENCE + GRACE, wandb.teardown)

    def _files(self, id_: str) -> list[Path]:
        """The files of runs of this id, the newest last: their folders are called by the time."""
        files = self.folder.glob(f"*run-*/run-{id_}.wandb")
        return sorted(files, key=lambda file: file.parent.name.removeprefix("offline-"))


TRACKER = WeightsAndBiases
"""The tracker of this file."""


def _within(seconds: float, call: Callable[[], Any]) -> None:
    """Call something that waits for the process of wandb, which may never answer.

    Raises:
        TimeoutError: it has not; the call goes on waiting and holds up nothing, not even the end of Python.
    """
    errors: list[BaseException] = []

    def caught() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=caught, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"its process has not answered for {seconds:g} seconds")
    if errors:
        raise errors[0]
