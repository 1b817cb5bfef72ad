"""TensorBoard: event files in the run's folder, for ``tensorboard --logdir runs``.

An epoch is one event that holds all its numbers, written at once. A reader of the folder goes through its
files in the order of their names; the start of a session tells it to forget what it has read from a step on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .tracker import About, Epoch

MARK, RESULT = "epoch", "result/"
"""Every epoch has a value of the one name; those of the result begin with the other."""


class TensorBoard:
    """Writes event files.

    Args:
        folder: for the event files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file: Path | None = None
        self.phase = ""

    def begin(self, about: About, epochs: Sequence[Epoch]) -> None:
        """See :meth:`cohobate.tracking.tracker.Tracker.begin`."""
        there = self._files()
        standing = _standing(there) if epochs else set()
        if not epochs:
            # Of another run, or of an attempt that ended before its first epoch.
            for file in there:
                file.unlink()
            there = []
        kept = next((epoch.step - 1 for epoch in epochs if epoch.step not in standing), len(epochs))
        self.file = self._new_file(there)
        self._write(*_opening(kept + 1), *([] if there else [_options(about)]))
        self.phase = epochs[kept - 1].phase if kept else ""
        for epoch in epochs[kept:]:
            self.epoch(epoch)

    def epoch(self, epoch: Epoch) -> None:
        """All its numbers, and the name of its phase where that is a new one."""
        if epoch.phase != self.phase:
            self.phase = epoch.phase
            self._write(_text("phase_name", epoch.phase, epoch.step))
        self._write(_scalars(epoch.values, epoch.step))

    def end(self, epochs: int, result: Mapping[str, float]) -> None:
        """The result, below ``result/`` at the last step."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        named = {RESULT + name: value for name, value in result.items()}
        success = api_pb2.Status.STATUS_SUCCESS
        ending = plugin_data_pb2.SessionEndInfo(status=success, end_time_secs=time.time())
        data = plugin_data_pb2.HParamsPluginData(session_end_info=ending)
        self._write(_scalars(named, epochs), _hparams(metadata.SESSION_END_INFO_TAG, data))

    def stop(self, *, failed: bool) -> None:
        """Nothing is open, and a run that has stopped may go on."""

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.tfevents.*"))

    def _new_file(self, there: Sequence[Path]) -> Path:
        """A name that comes after all others, and has the form that TensorBoard looks for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        now = int(time.time())
        if there:
            now = max(now, 1 + max(int(file.name.split(".")[3]) for file in there))
        return self.folder / f"events.out.tfevents.{now:010d}.cohobate"

    def _write(self, *events: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self.file is not None
        with self.file.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                event.wall_time = time.time()
                writer.write(event.SerializeToString())


TRACKER = TensorBoard
"""The tracker of this file."""


def _standing(files: Sequence[Path]) -> set[int]:
    """The steps of the epochs that the files hold, without those that a later session took back.

    Nor the one at which a result stands already: the run goes on, so it will have another.
    """
    steps: set[int] = set()
    for event in _events(files):
        tags = [value.tag for value in event.summary.value]
        if event.HasField("session_log"):
            steps = {step for step in steps if step < event.step}
        elif MARK in tags:
            steps.add(event.step)
        elif any(tag.startswith(RESULT) for tag in tags):
            steps.discard(event.step)
    return steps


def _events(files: Sequence[Path]) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    for file in files:
        # It stops at an event that was cut off.
        yield from LegacyEventFileLoader(str(file)).Load()


def _opening(step: int) -> list[Any]:
    """The first events of a file: whatever earlier files have from this step on does not count."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    return [
        Event(file_version="brain.Event:2"),
        Event(step=step, session_log=SessionLog(status=SessionLog.START)),
    ]


def _scalars(values: Mapping[str, float], step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    each = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return Event(step=step, summary=Summary(value=each))


def _text(tag: str, text: str, step: int) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.text.metadata import create_summary_metadata

    value = Summary.Value(
        tag=tag,
        metadata=create_summary_metadata(display_name=tag, description=""),
        tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode()]),
    )
    return Event(step=step, summary=Summary(value=[value]))


def _options(about: About) -> Any:
    """The options, for the page of hyper-parameters."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=about.name, start_time_secs=time.time())
    for name, value in about.options.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = str(value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    return _hparams(metadata.SESSION_START_INFO_TAG, data)


def _hparams(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data))
    value.tensor.CopyFrom(metadata.NULL_TENSOR)
    return Event(summary=Summary(value=[value]))
