"""The phases of a run's plan: what each took and learned from, and which of them stopped early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config.words import count, named
from ...core.metrics import Metric
from ...runs.reading import Run
from .text import duration


def phases(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What each phase took; empty for a result from before this was recorded."""
    return list(result.get("phases", []))


def stopped(result: Mapping[str, Any]) -> str:
    """stopped after 12 of 30 epochs; with the phase where there are several; empty if none stopped early."""
    recorded = phases(result)
    each = [
        f"{phase['epochs']} of {count(phase['of'], 'epoch')}"
        + (f" in {phase['phase']}" if len(recorded) > 1 else "")
        for phase in recorded
        if phase["epochs"] < phase["of"]
    ]
    return f"stopped after {', '.join(each)}" if each else ""


def phase_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row a phase, heading -> text; empty where there is only one."""
    recorded = phases(result)
    if len(recorded) < 2:
        return []
    return [
        {
            "phase": phase["phase"],
            "epochs": f"{phase['epochs']} of {phase['of']}"
            if phase["epochs"] < phase["of"]
            else str(phase["epochs"]),
            "parameters trained": f"{phase['parameters_trained']:,}",
            "train time": duration(phase["train_seconds"]),
        }
        for phase in recorded
    ]


def alone_notes(runs: Sequence[Run]) -> list[str]:
    """Sentences on finished runs that were trained on unlabelled images alone."""
    return [
        f"{run.name} is trained on the {run.outcome['unlabelled_images']:,} images of "
        f"{run.config['unlabelled']} alone, without a label; it is measured on the images of "
        f"{run.outcome['data']}."
        for run in {run.name: run for run in runs if run.config.get("unlabelled_alone")}.values()
    ]


def phase_notes(runs: Sequence[Run], metric: Metric) -> list[str]:
    """Sentences on plans of several phases, and on early stopping.

    Args:
        runs: finished ones.
        metric: by which they stop.
    """
    methods: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for run in runs:
        names = tuple(str(phase["phase"]) for phase in phases(run.outcome))
        methods.setdefault(run.name, {}).setdefault(names, []).append(run.outcome["seed"])
    notes = [
        f"{method} is trained in {_in_phases(plans)}: its parameters trained and its train time are those of "
        "all of them, a parameter counted once."
        for method, plans in methods.items()
        if any(len(names) > 1 for names in plans)
    ]
    patience = sorted({run.config["patience"] for run in runs if run.config.get("patience")})
    if patience:
        early = [(run, text) for run in runs if (text := stopped(run.outcome))]
        each = [f"{run.name}, seed {run.outcome['seed']}, {text}" for run, text in early]
        notes.append(
            f"A phase stops when the validation {metric.title} has not improved for "
            f"{' or '.join(count(epochs, 'epoch') for epochs in patience)} (--patience); the learning rate "
            f"follows the schedule of the whole run. {'; '.join(each) or 'No run stopped early'}."
        )
    return notes


def _in_phases(plans: Mapping[tuple[str, ...], Sequence[int]]) -> str:
    """2 phases (S_0, R_1); with the seeds where these have different phases, as ResKD's may."""
    each = {names: f"{count(len(names), 'phase')} ({', '.join(names)})" for names in plans}
    if len(each) == 1:
        return next(iter(each.values()))
    return ", ".join(f"{text} with {named('seed', plans[names])}" for names, text in each.items())
