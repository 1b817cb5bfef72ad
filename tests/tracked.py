"""What trackers wrote, read back with their own tools where they have any."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Values = dict[str, dict[int, list[float]]]
"""Name -> step -> every value that stands there: one, unless something was logged twice."""


def collected(triples: Iterator[tuple[str, int, float]]) -> Values:
    values: Values = {}
    for name, step, value in triples:
        values.setdefault(name, {}).setdefault(step, []).append(value)
    return values


def tensorboard(folder: Path) -> tuple[Values, dict[str, Any]]:
    """Scalars and options, as TensorBoard itself reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    scalars = ((tag, event.step, event.value) for tag in tags["scalars"] for event in events.Scalars(tag))
    values = collected(scalars)
    start = metadata.parse_session_start_info_plugin_data(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    options = {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}
    named = [
        (event.step, event.tensor_proto.string_val[0].decode())
        for event in (events.Tensors("phase_name") if "phase_name" in tags["tensors"] else ())
    ]
    return values, options | {"phases": named, "ended": "_hparams_/session_end_info" in tags["tensors"]}


def payloads(data: bytes) -> Iterator[bytes]:
    """The records of a log in the format of LevelDB, which wandb uses: pieces in blocks of 32 KiB."""
    assert data[:4] in (b":W&B", b"")
    at, whole = 7, b""
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        if at + 7 > len(data):
            return
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


def wandb_runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("offline-run-*"))


def wandb(folder: Path) -> tuple[Values, dict[str, Any]]:
    """History and configuration of the only run in the folder, once its end is written."""
    (run,) = wandb_runs(folder)
    latest = time.monotonic() + 20
    while True:
        rows, facts = wandb_records(run)
        if facts["exit"] is not None or time.monotonic() > latest:
            break
        time.sleep(0.02)
    facts["phases"] = [(row["_step"], row.pop("phase_name")) for row in rows]
    triples = ((name, row["_step"], value) for row in rows for name, value in row.items() if name[0] != "_")
    return collected(triples), facts


def wandb_records(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows, and what else the file tells, with the messages of wandb."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = run.glob("*.wandb")
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"id": file.stem.removeprefix("run-"), "summary": {}, "exit": None}
    facts["kinds"] = set[str]()
    for payload in payloads(file.read_bytes()):
        record = Record.FromString(payload)
        facts["kinds"].add(record.WhichOneof("record_type"))
        if record.HasField("history"):
            items = record.history.item
            rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
        if record.HasField("run"):
            facts |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            facts |= {"name": record.run.display_name, "project": record.run.project}
        if record.HasField("summary"):
            facts["summary"] |= {i.key: json.loads(i.value_json) for i in record.summary.update if i.key}
        if record.HasField("exit"):
            facts["exit"] = record.exit.exit_code
    return rows, facts


def mlflow(folder: Path) -> tuple[Values, dict[str, Any]]:
    """Metrics, parameters and tags of the run that the folder names, from the files of the store."""
    from mlflow.tracking import MlflowClient

    there = json.loads((folder / "run.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setitem(os.environ, "MLFLOW_DISABLE_TELEMETRY", "true")
        client = MlflowClient(tracking_uri=there["store"])
        run = client.get_run(there["run"])
        runs = client.search_runs([run.info.experiment_id])
        histories = [client.get_metric_history(run.info.run_id, name) for name in run.data.metrics]
    values = collected((m.key, m.step, m.value) for history in histories for m in history)
    facts = {"id": run.info.run_id, "status": run.info.status, "runs": [r.info.run_id for r in runs]}
    return values, {**run.data.params, **run.data.tags, **facts, "name": run.info.run_name}


READERS = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}
