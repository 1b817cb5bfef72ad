"""Run folders as the engine writes them, with numbers chosen by the test."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cohobate.core.metrics import TOP1_ERROR, Metric
from cohobate.runs.reading import Run, read_run

MakeRun = Callable[..., Run]


def write_run_folder(
    folder: Path,
    *,
    method: str = "supervised",
    label: str | None = None,
    options: dict[str, Any] | None = None,
    seed: int = 0,
    last: float = 10.0,
    best: float | None = 9.5,
    epochs: int = 4,
    seconds: float = 100.0,
    test: bool = True,
    log_test: bool = False,
    finished: bool = True,
    phases: tuple[str, ...] = ("train",),
    config: dict[str, Any] | None = None,
    provenance: dict[str, Any] | None = None,
    headline: Metric = TOP1_ERROR,
    **result: Any,
) -> None:
    """``best=None``: a data set without a validation split. Of another headline, nothing else is measured."""
    split = "test" if test else "val"
    label = method if label is None else label
    asked = {"method": method, "model": "resnet20", "data": "cifar10", "epochs": epochs, "seed": seed}
    asked |= {"batch_size": 128, "lr": 0.1, **(options or {}), **(config or {})}
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(asked, sort_keys=False))
    steps = [(phase, e) for phase in phases for e in range(1, epochs + 1)]
    lines = [_line(phase, e, epochs, last, log_test, headline) for phase, e in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = {"cohobate": "0.1.0", "commit": "abc", "machine": "box", "device": "cpu"}
    made |= {"command": f"cohobate train {method} --seed {seed}", **(provenance or {})}
    if headline != TOP1_ERROR:
        made["headline"] = headline._asdict()
    (folder / "provenance.json").write_text(json.dumps(made))
    if finished:
        found: dict[str, Any] = {
            "method": method,
            "label": label,
            "options": options or {},
            "seed": seed,
            "model": "resnet20",
            "data": "cifar10",
            "predictor": "network",
            "epochs": epochs,
            "parameters_trained": 269722,
            "parameters_deployed": 269722,
            "macs": 40551808,
            "train_seconds": seconds,
            "train_images": 45000,
            "image_passes": 45000 * epochs,
            "last": _epoch(epochs, split, last, headline),
            "best": None if best is None else _epoch(epochs - 1, split, best, headline),
        }
        (folder / "result.json").write_text(json.dumps(found | result))


def _epoch(epoch: int, split: str, error: float, headline: Metric) -> dict[str, Any]:
    val = {"network": _metrics(error + 0.25, headline)}
    readouts = {"network": _metrics(error, headline), "other": _metrics(99.0, headline)}
    return {"epoch": epoch, "val": val, "test": None} | {split: readouts}


def _metrics(error: float, headline: Metric) -> dict[str, float]:
    if headline != TOP1_ERROR:
        return {headline.name: error}
    return {"top1_error": error, "top5_error": error / 10, "nll": error / 20, "ece": error / 4}


def _line(
    phase: str, epoch: int, epochs: int, last: float, log_test: bool, headline: Metric
) -> dict[str, Any]:
    error = last + 60 * math.exp(-4 * epoch / epochs)
    losses = {"ce": error / 20, "kl": 0.01 * error}
    line = {"phase": phase, "epoch": epoch, "lr": 0.1, "losses": losses, "seconds": 3.0}
    line["val"] = {"network": _metrics(error, headline)}
    return line | ({"test": {"network": _metrics(error + 0.5, headline)}} if log_test else {})


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder, below ``runs`` unless told otherwise, and reads it."""

    def make(name: str = "run", **settings: Any) -> Run:
        folder = tmp_path / "runs" / name
        write_run_folder(folder, **settings)
        return read_run(folder)

    return make
