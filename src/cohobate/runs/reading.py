"""Reads and checks run folders.

A folder holds the configuration, the metrics (one line an epoch), the provenance (machine, time and
versions) and, once the run has finished, the result; :mod:`cohobate.runs.layout` names the files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..config.words import count
from ..core.metrics import TOP1_ERROR, Metric
from ..engine.errors import RunError
from .adaptive import Adaptive, read_adaptive
from .finding import require_run
from .layout import RunFolder

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
        config: its method and options.
        metrics: one mapping an epoch; empty before the first epoch is over.
        result: sizes, costs and measurements; None as long as the run has not finished.
        provenance: machine, time and versions; empty where nothing is recorded.
        headline: the metric by which runs are compared and the best epoch is chosen.
        failure: the message with which it diverged; empty if it did not.
        adaptive: its deployed sum as a cascade; None unless that was measured.
    """

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any] | None
    provenance: dict[str, Any]
    headline: Metric = TOP1_ERROR
    failure: str = ""
    adaptive: Adaptive | None = None

    @property
    def method(self) -> str:
        return str(self.config.get("method", self.folder.name))

    @property
    def name(self) -> str:
        """The label of a finished run; of an unfinished one, its method and seed."""
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
            raise ValueError(
                f"{self.folder} has not finished: it has no {RunFolder(self.folder).result.name}"
            )
        return self.result

    @property
    def group(self) -> str:
        """Equal for runs that differ by their seed only.

        An unfinished run has no label yet, so its method's options are unknown: it is a group of its own.
        """
        return self.name if self.result is not None else str(self.folder)

    @property
    def circumstances(self) -> dict[str, Any]:
        """The provenance as one flat mapping: the entries of nested mappings beside the others."""
        flat: dict[str, Any] = {}
        for key, value in self.provenance.items():
            flat |= value if isinstance(value, dict) else {key: value}
        return flat

    @property
    def phases(self) -> list[str]:
        """Names of the phases begun so far, in order."""
        return list(dict.fromkeys(str(line["phase"]) for line in self.metrics))

    @property
    def predictor(self) -> str | None:
        """The deployed predictor; None before anything was evaluated."""
        if self.result is not None:
            return str(self.result["predictor"])
        return next(iter(self.predictors()), None)

    @property
    def readout(self) -> str | None:
        """The read-out that tables of several runs report: the option ``readout``, or the deployed one."""
        return self.config.get("readout") or self.predictor

    def reporting(self, readout: str | None) -> Run:
        """The same, for a table that reports this read-out; None: the deployed one."""
        return replace(self, config={**self.config, "readout": readout})

    def measured(self, epoch: Mapping[str, Any], split: str) -> dict[str, float]:
        """The metrics of the reported read-out at an epoch of the result; matrices are left out.

        Args:
            epoch: "last" or "best" of the result.
            split: "val" or "test".

        Raises:
            ValueError: the read-out, or its headline metric, was not measured there.
        """
        measured = epoch.get(split) or {}
        metrics = measured.get(self.readout) or {}
        if self.headline.name not in metrics:
            file, known = RunFolder(self.folder).result, ", ".join(measured) or "none"
            raise ValueError(
                f"{file} has no {split} {self.headline.name} of read-out {self.readout!r}; "
                f"the read-outs measured there are: {known}"
            )
        return {name: value for name, value in metrics.items() if not isinstance(value, list)}

    def predictors(self, split: str | None = None) -> list[str]:
        """Predictors of the last phase that were evaluated on a split (any split by default)."""
        splits = SPLITS if split is None else (split,)
        evaluated = (line[s] for line in self._last_phase() for s in splits if line.get(s))
        return list(dict.fromkeys(name for predictors in evaluated for name in predictors))

    def curve(self, split: str, predictor: str, metric: str | None = None) -> dict[float, float]:
        """Epoch of the last phase -> metric (by default the headline); epochs without it are left out."""
        key = self.headline.name if metric is None else metric
        lines = ((line["epoch"], (line.get(split) or {}).get(predictor)) for line in self._last_phase())
        return {epoch: values[key] for epoch, values in lines if values and key in values}

    def _last_phase(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if line["phase"] == self.metrics[-1]["phase"]]


def shared_headline(runs: Sequence[Run]) -> Metric:
    """The headline metric of all runs; top-1 error if there are no runs.

    Raises:
        ValueError: runs with different headline metrics, which cannot be compared.
    """
    headlines = {run.headline: run for run in runs}
    if len(headlines) > 1:
        each = ", ".join(f"{metric.title} ({metric.name}, {run.folder})" for metric, run in headlines.items())
        raise ValueError(
            f"runs with different headline metrics cannot be compared: {each}; leave one kind out"
        )
    return next(iter(headlines), TOP1_ERROR)


def read_run(folder: Path) -> Run:
    """A run folder, finished or not.

    Raises:
        FileNotFoundError: see :func:`require_run`.
        ValueError: a file does not have the form that the engine writes; the message names the file.
    """
    files = RunFolder(folder)
    require_run(folder)
    provenance = _read_json(files.provenance) or {}
    return Run(
        folder=folder,
        config=_read_config(files.config),
        metrics=list(_read_metrics(files.metrics)),
        result=_read_result(files.result),
        provenance=provenance,
        headline=_headline(provenance, files.provenance),
        failure=str((_read_json(files.failure) or {}).get("message", "")),
        adaptive=read_adaptive(folder),
    )


def require_finished(folder: Path) -> None:
    """Check that a folder is that of a run which has finished.

    Raises:
        FileNotFoundError: see :func:`require_run`.
        RunError: the run has not finished.
    """
    require_run(folder)
    if RunFolder(folder).finished:
        return
    run = read_run(folder)
    if run.failure:
        raise RunError(f"{folder} has diverged: {run.failure}")
    command = run.provenance.get("command")
    again = f"run `{command}` again" if command else "run the command that began it again"
    raise RunError(
        f"{folder} has not finished: {count(len(run.metrics), 'epoch')} so far; {again}, and it goes on "
        "(`cohobate report` and `cohobate attention` show what there is)"
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


def _headline(provenance: dict[str, Any], file: Path) -> Metric:
    """The recorded headline metric; folders written before it was recorded mean top-1 error."""
    if "headline" not in provenance:
        return TOP1_ERROR
    where = f"headline of {file}"
    recorded = _with_keys(_mapping(provenance["headline"], where), Metric._fields, where)
    return Metric(*(recorded[field] for field in Metric._fields))


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
