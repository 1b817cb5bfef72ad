"""How a network was trained, with which options, where, and at what cost: names and values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..config.groups import Bookkeeping, Numerics, Training
from ..config.words import count
from ..runs.exported import About, Int8
from ..runs.reading import Run
from .tables.text import duration, millions_of

RECORDED = (
    *("started", "machine", "gpu", "python", "torch", "threads", "processes", "cohobate", "commit"),
    "data_notes",
)
"""Facts of the provenance, in this order."""
UNTOLD = {*Bookkeeping.model_fields, *Numerics.model_fields, "seed", "data", "model"}
"""Options that move no weight, are recorded as they were chosen, or stand elsewhere in a card."""


class Explained(NamedTuple):
    """The method in words.

    Attributes:
        summary: a sentence.
        defaults: own option -> default, where it has one.
        help: own option -> what it is.
    """

    summary: str
    defaults: Mapping[str, Any]
    help: Mapping[str, str]


def training_facts(run: Run, about: About) -> list[tuple[str, str]]:
    """What the network was trained on, and how."""
    config, outcome = run.config, run.outcome
    unlabelled = outcome.get("unlabelled_images")
    facts = {
        "data": f"{outcome['data']}, {count(outcome['train_images'], 'training image')}",
        "fingerprint of the data": about.data_fingerprint,
        "unlabelled images": f"{unlabelled:,}, of {config.get('unlabelled')}" if unlabelled else "",
        "augmentation": run.provenance.get("augmentation", ""),
        "normalisation": f"mean {_listed(about.mean)}, deviation {_listed(about.std)} (of values 0 to 1)",
        "length": f"{count(outcome['epochs'], 'epoch')}, batch size {config.get('batch_size')}",
        "optimiser": f"{config.get('optimizer')}, learning rate {config.get('lr')}, schedule "
        f"{config.get('schedule')}",
        "computed": f"in {about.precision} on {config.get('device')}, {config.get('layout')}",
    }
    return [(name, text) for name, text in facts.items() if text]


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def option_rows(run: Run, method: Explained) -> list[dict[str, str]]:
    """The method's own options, and those of every run that are not at their default."""
    own = [
        _row(name, value, method.defaults.get(name, ""), method.help.get(name, ""))
        for name, value in run.outcome["options"].items()
    ]
    defaults = Training.model_construct().model_dump(mode="json", warnings=False)
    changed = {name: run.config[name] for name in defaults if name in run.config and name not in UNTOLD}
    return own + [
        _row(name, value, defaults[name], Training.model_fields[name].description or "")
        for name, value in changed.items()
        if value != defaults[name]
    ]


def _row(name: str, value: object, default: object, what: str) -> dict[str, str]:
    return {"option": name, "value": _said(value), "default": _said(default), "what it is": what}


def _said(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def provenance_facts(run: Run) -> list[tuple[str, str]]:
    """Machine, time and versions."""
    facts = run.circumstances
    return [
        (key.replace("_", " "), "; ".join(map(str, value)) if isinstance(value, list) else str(value))
        for key in RECORDED
        if (value := facts.get(key)) not in (None, [])
    ]


def cost_rows(run: Run, about: About) -> list[dict[str, str]]:
    """What an image costs, and what the training did."""
    outcome = run.outcome
    facts = {
        "parameters of the network": f"{about.parameters:,}",
        "multiply-accumulates for an image": millions_of(float(about.macs or 0), 1),
        "parameters trained": f"{outcome['parameters_trained']:,}",
        "training time": duration(outcome["train_seconds"]),
        "images shown in training": f"{outcome['image_passes']:,}" if "image_passes" in outcome else "",
    }
    return [{"what": name, "value": value} for name, value in facts.items() if value]


def integers_line(name: str, found: Int8) -> str:
    """What 8 bits cost, of the file of this name."""
    own, floats = found.values
    return (
        f"{name}: {found.measure} {own:.2f} %, of the network in floats {floats:.2f} % "
        f"({found.measured_on}, {count(found.images, 'image')}; {count(found.other_labels, 'other label')}); "
        f"calibrated on {count(found.calibration_images, 'image')} ({found.calibrated_on}); {found.choices}."
    )
