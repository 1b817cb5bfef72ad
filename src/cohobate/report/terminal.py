"""Tables for the terminal, besides that of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

MEASURES = {
    "top1_error": "top-1 error %",
    "top5_error": "top-5 error %",
    "nll": "NLL (nats)",
    "ece": "calibration error % (15 bins)",
}


class Outlook(NamedTuple):
    """What a phase would cost: updates an epoch, parameters, multiply-accumulates an image, seconds."""

    phase: str
    epochs: int
    steps: int
    trained: int
    deployed: int
    macs: int
    seconds: float


def plan_table(title: str, outlooks: Sequence[Outlook]) -> Table:
    """The phases of a plan with their sizes and times."""
    from rich.table import Table

    table = Table(title=title)
    for column in ("phase", "epochs", "steps an epoch", "parameters trained", "deployed", "MACs", "about"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for o in outlooks:
        cells = (o.epochs, o.steps, f"{o.trained:,}", f"{o.deployed:,}", f"{o.macs:,}")
        time = f"{o.seconds / 3600:.1f} h" if o.seconds >= 7200 else f"{o.seconds / 60:.1f} min"
        table.add_row(o.phase, *map(str, cells), time)
    return table


def result_table(facts: Mapping[str, Any]) -> Table:
    """The measurements of a finished run, ``result.json``."""
    from rich.table import Table

    table = Table(title=f"{facts['label']} on {facts['data']}, {facts['model']}, seed {facts['seed']}")
    for column in ("weights", "split", "top-1 error %", "top-5 error %", "NLL", "ECE %"):
        table.add_column(column, justify="right", no_wrap=True)
    for weights in ("last", "best"):
        kept = facts[weights]
        for split in ("val", "test"):
            if kept and kept[split]:
                values = [kept[split][facts["predictor"]][key] for key in MEASURES]
                name = f"{weights}, epoch {kept['epoch']}"
                table.add_row(name, split, *(f"{v:.2f}" if v >= 0.1 else f"{v:.3f}" for v in values))
    return table


def measures_table(title: str, measured: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """Every measure of one network on one split, and the error of each class."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("measure")
    table.add_column("value", justify="right")
    for key, name in MEASURES.items():
        table.add_row(name, f"{measured[key]:.3f}")
    table.add_section()
    for name, value in zip(classes, measured["class_error"], strict=True):
        table.add_row(f"error % of {name}", "no images" if value is None else f"{value:.2f}")
    return table
