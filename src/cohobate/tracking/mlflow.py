"""MLflow: a run in the store that MLFLOW_TRACKING_URI names, else in a store of files in ``runs/mlruns``.

A store takes no number back. After a resume only what it does not have is added; if it has more than the
records that stand, the run there is put into its bin and a new one is written.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .tracker import About, Epoch

STORE = Path("runs/mlruns")
EXPERIMENT = "cohobate"

DEFAULTS = {
    # The store of files still works, but only if one says that one wants it.
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    # A server that does not answer must not hold up the run for long.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Variables of the environment that MLflow reads, where the user has not set them."""

FIRST, LAST = "phase", "epoch"
"""The values of an epoch that are written first and last: with the last one, the epoch is complete."""

AT_ONCE = 100
"""Number of parameters and metrics in one call, of which no store refuses so many."""


class MLflow:
    """Writes a run of MLflow.

    Args:
        folder: for the file that remembers the store and the name of the run there.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "run.json"
        self.store = self.id = self.phase = ""

    def begin(self, about: About, epochs: Sequence[Epoch]) -> str | None:
        """See :meth:`cohobate.tracking.tracker.Tracker.begin`."""
        before = self._remembered()
        note = None
        if before is None:
            before, note = {}, f"{self.file} is damaged, so mlflow begins a new run"
        # Without a word of the user's, a run stays where it was begun, whatever the present folder.
        own = before.get("store", STORE.resolve().as_uri())
        self.store = os.environ.get("MLFLOW_TRACKING_URI") or own
        there = before.get("run", "") if before.get("store") == self.store else ""
        if there and self._goes_on(there, about, {epoch.step for epoch in epochs}):
            self.id = there
            self._client().update_run(self.id, status="RUNNING")
        else:
            self._create(about)
        # A history is long, and may be on a server: each is read once.
        steps = cache(self._steps)
        for epoch in epochs:
            self._name_phase(epoch)
            if epoch.step not in steps(LAST):
                missing = {
                    name: value for name, value in epoch.values.items() if epoch.step not in steps(name)
                }
                self._log(missing, epoch.step)
        return note

    def epoch(self, epoch: Epoch) -> None:
        """Its numbers, and the name of its phase where that is a new one."""
        self._name_phase(epoch)
        self._log(epoch.values, epoch.step)

    def end(self, epochs: int, result: Mapping[str, float]) -> None:
        """The result, below ``result/`` at the last step."""
        named = {f"result/{name}": value for name, value in result.items()}
        self._log({name: value for name, value in named.items() if epochs not in self._steps(name)}, epochs)
        self._client().set_terminated(self.id, "FINISHED")

    def stop(self, *, failed: bool) -> None:
        """Neither way has the run finished."""
        self._client().set_terminated(self.id, "FAILED" if failed else "KILLED")

    def _remembered(self) -> dict[str, str] | None:
        """Store and name of the run; {} where there is none yet, None where the file is damaged."""
        if not self.file.is_file():
            return {}
        try:
            found = json.loads(self.file.read_bytes())
        except ValueError:
            return None
        whole = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("store", "run"))
        return found if whole else None

    def _remember(self) -> None:
        """Written beside, then renamed: a kill leaves the file of before or the new one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_suffix(".new")
        with beside.open("w") as file:
            file.write(json.dumps({"store": self.store, "run": self.id}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.file)

    def _client(self) -> Any:
        """MLflow reads the environment in every call, and whoever calls the tracker restores it."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.store)

    def _goes_on(self, run: str, about: About, standing: set[int]) -> bool:
        """Whether the store has this run, with these options; one that has more epochs goes into its bin."""
        client = self._client()
        from mlflow.exceptions import MlflowException

        try:
            there = client.get_run(run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        if there.info.lifecycle_stage != "active":
            return False
        self.id = run
        if there.data.params == _parameters(about) and self._steps(FIRST) <= standing:
            return True
        client.delete_run(run)
        return False

    def _create(self, about: About) -> None:
        client = self._client()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = client.get_experiment_by_name(name)
        number = client.create_experiment(name) if experiment is None else experiment.experiment_id
        tags = {"group": about.group, "folder": str(about.folder.resolve())}
        self.id = client.create_run(number, tags=tags, run_name=about.name).info.run_id
        from mlflow.entities import Param

        parameters = [Param(key, value) for key, value in _parameters(about).items()]
        for start in range(0, len(parameters), AT_ONCE):
            client.log_batch(self.id, params=parameters[start : start + AT_ONCE])
        self._remember()

    def _name_phase(self, epoch: Epoch) -> None:
        if epoch.phase != self.phase:
            self.phase = epoch.phase
            self._client().set_tag(self.id, f"phase {epoch.values[FIRST]:g}", epoch.phase)

    def _steps(self, name: str) -> set[int]:
        """The steps at which the store has a value of this name."""
        return {metric.step for metric in self._client().get_metric_history(self.id, _key(name))}

    def _log(self, values: Mapping[str, float], step: int) -> None:
        client, now = self._client(), int(1000 * time.time())
        from mlflow.entities import Metric

        order = sorted(values, key=lambda name: (name != FIRST, name == LAST))
        metrics = [Metric(_key(name), values[name], now, step) for name in order]
        for start in range(0, len(metrics), AT_ONCE):
            client.log_batch(self.id, metrics=metrics[start : start + AT_ONCE])


TRACKER = MLflow
"""The tracker of this file."""


def _parameters(about: About) -> dict[str, str]:
    return {_key(name): str(value) for name, value in about.options.items()}


def _key(name: str) -> str:
    """A name without the characters that MLflow refuses in one."""
    return re.sub(r"[^\w./ :-]", "_", name)
