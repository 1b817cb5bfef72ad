"""Sample-adaptive inference with a sum of networks: the cascade beside the networks that it is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...config.words import count
from ...runs.adaptive import Adaptive, Row, to_record
from .text import NOTHING, millions_of

if TYPE_CHECKING:
    from rich.table import Table

READINGS = {
    "sum": "the energy of the summed logits",
    "added": "the sum of the energies of the networks",
}


def adaptive_rows(adaptive: Adaptive) -> list[dict[str, str]]:
    """A row a network, heading -> text."""
    stages = " / ".join(f"S_{i}" for i in range(len(adaptive.members)))
    return [
        {
            "network": named(adaptive, row),
            "accuracy, %": f"{row.accuracy:.2f}",
            "error, %": f"{row.error:.2f}",
            "MACs": millions_of(row.macs, 2),
            "% of sum": f"{row.percent_of_sum:.1f}",
            "% of teacher": NOTHING if row.percent_of_teacher is None else f"{row.percent_of_teacher:.1f}",
            "ms": f"{row.milliseconds:.3g}",
            f"leave after {stages}, %": " / ".join(f"{100 * share:.1f}" for share in row.exits) or NOTHING,
        }
        for row in adaptive.rows
    ]


def named(adaptive: Adaptive, row: Row) -> str:
    """S_0; S_1, full sum; adaptive; teacher."""
    return f"{row.name}, full sum" if row.name == f"S_{len(adaptive.members) - 1}" else row.name


def label(adaptive: Adaptive, row: Row) -> str:
    """The same with its model where it is a single network: S_0 (resnet14)."""
    models = {member.name: member.model for member in adaptive.networks}
    return f"{row.name} ({models[row.name]})" if row.name in models else named(adaptive, row)


def threshold_text(threshold: float) -> str:
    """0.9713; never"""
    return str(to_record(threshold)) if threshold == math.inf else f"{threshold:.6g}"


def title(adaptive: Adaptive) -> str:
    """What was measured."""
    return (
        f"{adaptive.data}, {adaptive.split} split, {adaptive.weights} weights, "
        f"{count(adaptive.images, 'image')}"
    )


def adaptive_notes(adaptive: Adaptive) -> list[str]:
    """What the table cannot hold: the threshold, D_v, how the time was measured."""
    return list(_notes(adaptive))


def _notes(adaptive: Adaptive) -> Iterator[str]:
    sums = " + ".join(f"{member.model} ({member.name})" for member in adaptive.members)
    taught = [each.model for each in adaptive.networks if each not in adaptive.members]
    by = f"; the teacher is {taught[0]}" if taught else ""
    yield f"The networks are {sums}; S_i is the sum of the first ones up to R_i{by}."
    yield (
        f"Threshold {threshold_text(adaptive.threshold)}: {adaptive.rule}. An image leaves once "
        f"{READINGS[adaptive.energy]} is above it."
    )
    yield _about_dv(adaptive)
    if adaptive.same_images:
        yield "D_v is among the images measured here, so they say nothing about how well the threshold holds."
    timing = adaptive.timing
    yield (
        f"MACs: multiply-accumulates of an image, mean. ms: its time on {timing.device}, "
        f"{count(timing.threads, 'thread')}, {timing.precision}, in batches of {timing.batch_size}; median "
        f"of {count(timing.rounds, 'round')} over {count(timing.images, 'image')}, in each of which every "
        "network takes its turn. The energies are part of the time, not of the multiply-accumulates."
    )
    if adaptive.moved:
        yield (
            f"{count(adaptive.moved, 'image')} left elsewhere than the logits of the full sum say: a network "
            "rounds otherwise in a batch of another size."
        )
    if adaptive.no_teacher:
        yield adaptive.no_teacher


def _about_dv(adaptive: Adaptive) -> str:
    chosen_on, there = adaptive.chosen_on, adaptive.on_chosen
    if chosen_on is None or there is None:
        return "The images of the run are not there any more, so there is no D_v to compare with."
    kind = "training" if chosen_on.trained_on else "validation"
    learned = (
        ", which the networks were trained on, so that the accuracy there is optimistic"
        if chosen_on.trained_on
        else ", held out"
    )
    return (
        f"D_v: {count(chosen_on.images, f'{kind} image')}{learned}. There this threshold gives an accuracy "
        f"of {there.accuracy:.2f} % at {millions_of(there.macs, 2)} MACs an image."
    )


def to_rich(adaptive: Adaptive, run: str) -> Table:
    """The table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    rows = adaptive_rows(adaptive)
    table = Table(title=Text(f"{run}, {title(adaptive)}"))
    for heading in rows[0]:
        side: Any = "left" if heading == "network" else "right"
        table.add_column(heading.replace(", %", " %"), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table
