"""Tables for the terminal, besides that of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ...config.words import count
from ...core.metrics import MIOU, TOP1_ERROR, Metric
from .readout_table import cost_cells
from .readouts import costs
from .text import known_columns
from .told import run_lines

if TYPE_CHECKING:
    from rich.table import Table

    from .beside import Beside

EXPLAINED = {
    "nll": "NLL (nats)",
    "ece": "calibration error % (15 bins)",
    MIOU.name: "mIoU % (size of the network)",
    "miou_original": "mIoU % (sizes of the pictures)",
}
"""Headings for which a list of measures has more room than a table."""

EACH_CLASS = {"class_error": ("error % of", "no images"), "class_iou": ("IoU % of", "does not occur")}
"""Measure of each class -> what stands before its name, and instead of a number that it has not."""


class Outlook(NamedTuple):
    """What a phase would cost: updates an epoch, parameters, multiply-accumulates an image, seconds.

    ``beside``: what read-outs that contain the deployed network add to it.
    """

    phase: str
    epochs: int
    steps: int
    trained: int
    deployed: int
    macs: int
    seconds: float
    beside: tuple[Beside, ...] = ()


class NetworkLine(NamedTuple):
    """A built-in network: sizes, channels of its stages, names of its options, the paper it is from."""

    name: str
    parameters: int
    macs: int
    stages: list[int]
    options: list[str]
    source: str


class StageLine(NamedTuple):
    """A stage: its output, and the sizes of trunk and tail if the network is cut after it.

    ``sizes`` are (parameters, multiply-accumulates) of the trunk, then of one tail; None after the last
    stage, and where the cut is refused.
    """

    name: str
    channels: int
    size: tuple[int, int]
    stride: float
    sizes: tuple[tuple[int, int], tuple[int, int]] | None
    refusal: str | None


class NetworkMap(NamedTuple):
    """What ``cohobate inspect`` shows of a network; a dense one predicts a class for every pixel."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    parameters: int
    macs: int
    stages: list[StageLine]
    pooled: int | None
    gates: list[str]
    gateless: str | None
    dense: bool = False


def networks_table(lines: Sequence[NetworkLine], title: str) -> Table:
    """The built-in networks."""
    from rich.table import Table

    table = Table(title=title)
    for column in ("model", "parameters", "MMACs", "channels of its stages", "options", "source"):
        table.add_column(column, justify="right" if column in ("parameters", "MMACs") else "left")
    for line in lines:
        stages = " ".join(map(str, line.stages))
        sizes = f"{line.parameters:,}", f"{line.macs / 1e6:,.1f}"
        table.add_row(line.name, *sizes, stages, " ".join(line.options), line.source)
    return table


def map_table(network: NetworkMap) -> Table:
    """Stages of a network and its branch points."""
    from rich.table import Table

    size = " x ".join(map(str, network.shape))
    total = f"{network.parameters:,} parameters, {network.macs / 1e6:,.1f} MMACs"
    table = Table(title=f"{network.name}: {total} ({count(network.classes, 'class')}, images {size})")
    # No branch begins at a stage of a dense network, so no column is for one.
    before, after = ((), ()) if network.dense else (("at",), ("trunk", "its MMACs", "a tail", "its MMACs"))
    for column in (*before, "stage", "channels", "size", "stride", *after):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for at, line in enumerate(network.stages, 1):
        what = f"{line.size[0]} x {line.size[1]}"
        stage = line.name, f"{line.channels:,}", what, f"{round(line.stride, 2):g}"
        if network.dense:
            table.add_row(*stage)
            continue
        cells = ["", "", "", ""]
        if line.sizes is not None:
            cells = [text for n, macs in line.sizes for text in (f"{n:,}", f"{macs / 1e6:,.1f}")]
        place = str(at) if line.sizes is not None else ""
        table.add_row(place, *stage, *cells)
    return table


def map_notes(network: NetworkMap) -> list[str]:
    """What the table cannot hold: where no branch or gate can be, and why."""
    notes = [
        f"no branch after {line.name}: {line.refusal}" for line in network.stages if line.refusal is not None
    ]
    if not network.stages:
        notes.append("no stages were found: name them, cohobate.adapt(network, stages=[...])")
    if network.dense:
        notes.append("a class for every pixel, at the size of the images")
    elif network.pooled is None:
        notes.append("no classifier was found: name it, cohobate.adapt(network, head=...)")
    else:
        notes.append(f"the classifier sees {network.pooled:,} pooled features")
    if network.gates:
        first, last = network.gates[0], network.gates[-1]
        notes.append(f"{count(len(network.gates), 'gate')} (blocks that can be dropped), {first} to {last}")
    else:
        notes.append(f"no gates: {network.gateless or 'no residual branch was found that could be dropped'}")
    return notes


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


def result_table(facts: Mapping[str, Any], headline: Metric = TOP1_ERROR) -> Table:
    """The measurements and the costs of a finished run: every read-out, the deployed one first.

    Args:
        facts: the run's result.
        headline: its headline metric, the first column of numbers.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{facts['label']} on {facts['data']}, {facts['model']}, seed {facts['seed']}"
    # For a terminal of 80 columns.
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, pad_edge=False)
    spent = costs(facts)
    readouts = [
        (f"{weights}, {epoch['epoch']}", split, name, measured)
        for weights in ("last", "best")
        if (epoch := facts[weights]) is not None
        for split in ("val", "test")
        for name, measured in (epoch[split] or {}).items()
    ]
    columns: dict[str, str] = {}
    for *_, measured in readouts:
        columns |= known_columns(measured, headline)
    headings = ["weights,\nepoch", "split", "read-out", *(_broken(text) for text in columns.values())]
    headings += ["param-\neters", "MACs"] if spent else []
    for column in headings:
        table.add_column(column, justify="right", no_wrap=True)
    for when, split, name, measured in readouts:
        cost = cost_cells(spent.get(name, {})).values() if spent else ()
        table.add_row(when, split, name, *(_number(measured.get(key)) for key in columns), *cost)
    if lines := run_lines(facts, headline):
        table.caption, table.caption_justify = Text("\n" + "\n".join(lines)), "left"
    return table


def _broken(heading: str) -> str:
    """top-1 error, % -> over two lines."""
    return heading.replace(", %", " %").replace(" ", "\n", 1)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def measures_table(
    title: str, measured: Mapping[str, Any], classes: Sequence[str], headline: Metric = TOP1_ERROR
) -> Table:
    """Every measure of one network on one split, and the error or the IoU of each class."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("measure")
    table.add_column("value", justify="right")
    for key, name in known_columns(measured, headline).items():
        table.add_row(EXPLAINED.get(key, name.replace(", %", " %")), f"{measured[key]:.3f}")
    for key, (what, nothing) in EACH_CLASS.items():
        if key in measured:
            table.add_section()
            for name, value in zip(classes, measured[key], strict=True):
                table.add_row(f"{what} {name}", nothing if value is None else f"{value:.2f}")
    return table
