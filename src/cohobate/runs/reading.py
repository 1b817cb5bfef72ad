"""Run folders, as the engine leaves them.

A folder holds run.yaml (what was asked for), metrics.jsonl (one line an epoch), provenance.json (where
and by what it was made) and, only once the run has finished, result.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SPLITS = ("val", "test", "train")
"""Splits that a line of metrics may report on."""

RESULT_KEYS = (
    *("method", "label", "options", "seed", "model", "data", "predictor", "epochs", "last", "best"),
    *("parameters_trained", "parameters_deployed", "macs", "train_seconds", "train_images"),
)


@dataclass(frozen=True)
class Run:
    """One run folder, read.

    Attributes:
        folder: where it lies.
        config: run.yaml.
        metrics: one mapping an epoch; empty before the first epoch is over.
        result: result.json; None as long as the run has not finished.
        provenance: provenance.json; empty where there is none.
    """

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any] | None
    provenance: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.config.get("method", self.folder.name))

    @property
    def name(self) -> str:
        """The label of a finished run; of another, what can be said of it."""
        if self.result is not None:
            return str(self.result["label"])
        return f"{self.method}, seed {self.config.get('seed', 'unknown')} (unfinished)"

    @property
    def outcome(self) -> dict[str, Any]:
        """The result.

        Raises:
            ValueError: the run has not finished.
        """
        if self.result is None:
            raise ValueError(f"{self.folder} has not finished: it has no result.json")
        return self.result

    @property
    def group(self) -> str:
        """Equal for runs that differ by their seed only.

        An unfinished run has no label yet, so nothing says whose seed it is: it stands alone.
        """
        return self.name if self.result is not None else str(self.folder)

    def recorded(self, key: str) -> Any:
        """A setting or a fact of the provenance, nested ones too; None where it is not recorded."""
        nested = [value for value in self.provenance.values() if isinstance(value, dict)]
        return next((place[key] for place in (self.config, self.provenance, *nested) if key in place), None)

    @property
    def phases(self) -> list[str]:
        """Names of the phases met so far, in order."""
        return list(dict.fromkeys(str(line["phase"]) for line in self.metrics))

    @property
    def predictor(self) -> str | None:
        """The deployed predictor; None before anything was evaluated."""
        if self.result is not None:
            return str(self.result["predictor"])
        return next(iter(self.predictors()), None)

    def predictors(self, split: str | None = None) -> list[str]:
        """Predictors of the last phase that were evaluated on a split (any split by default)."""
        splits = SPLITS if split is None else (split,)
        found = (line[s] for line in self._last_phase() for s in splits if line.get(s))
        return list(dict.fromkeys(name for networks in found for name in networks))

    def curve(self, split: str, predictor: str, metric: str = "top1_error") -> dict[float, float]:
        """Epoch of the last phase -> metric; epochs that did not report it are left out."""
        lines = ((line["epoch"], (line.get(split) or {}).get(predictor)) for line in self._last_phase())
        return {epoch: values[metric] for epoch, values in lines if values and metric in values}

    def _last_phase(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line["phase"] == self.metrics[-1]["phase"]]


def find_runs(folder: Path) -> list[Path]:
    """The folder itself if it is a run folder, else every run folder below it, sorted.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    if (folder / "run.yaml").is_file():
        return [folder]
    return sorted(file.parent for file in folder.rglob("run.yaml") if file.is_file())


def read_run(folder: Path) -> Run:
    """A run folder, finished or not.

    Raises:
        FileNotFoundError: there is no such folder, or it has no run.yaml.
        ValueError: a file in it cannot be what the engine writes; the message names the file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"not a run folder: {folder} does not exist or is no folder")
    if not (folder / "run.yaml").is_file():
        raise FileNotFoundError(f"not a run folder: {folder} has no run.yaml")
    return Run(
        folder=folder,
        config=_read_config(folder / "run.yaml"),
        metrics=list(_read_metrics(folder / "metrics.jsonl")),
        result=_read_result(folder / "result.json"),
        provenance=_read_json(folder / "provenance.json") or {},
    )


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    return _mapping(config, str(file))


def _read_metrics(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    lines = [(n, line) for n, line in enumerate(file.read_bytes().split(b"\n"), 1) if line.strip()]
    for number, line in lines:
        where = f"{file}, line {number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == lines[-1][0]:  # the run was killed while it wrote this line
                return
            raise ValueError(f"{where} is not JSON: {error}") from error
        yield _with_keys(_mapping(value, where), ("phase", "epoch"), where)


def _read_result(file: Path) -> dict[str, Any] | None:
    result = _read_json(file)
    return None if result is None else _with_keys(result, RESULT_KEYS, str(file))


def _read_json(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    return _mapping(value, str(file))


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must hold a mapping, got {type(value).__name__}")
    return value


def _with_keys(value: dict[str, Any], keys: tuple[str, ...], where: str) -> dict[str, Any]:
    missing = [key for key in keys if key not in value]
    if missing:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    return value
