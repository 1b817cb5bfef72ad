"""A comparison as a table: Markdown, CSV, JSON, terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...config.words import count, named
from ...core.metrics import TOP1_ERROR
from .comparison import Comparison, Entry
from .readout_table import readout_caption, readout_rows
from .stats import Gain
from .teachers import CAPTION as TEACHERS
from .teachers import teacher_lines, teacher_rows
from .text import (
    NOTHING,
    csv_text,
    duration,
    escaped,
    markdown_table,
    mean_std,
    millions,
    points,
    sentence,
    spelled,
    stem,
)

if TYPE_CHECKING:
    from rich.table import Table

SIZES = ("parameters trained", "deployed", "MACs")
LEFT = ("method", "read-out", "teacher", "taught")
"""Columns of text, aligned left; the others hold numbers."""

HEADING_WIDTH = 14
"""Characters of a line of a heading in a terminal of 80 columns."""


def caption(comparison: Comparison) -> str:
    """What the numbers are, for a reader who sees only the table."""
    c = comparison
    seeds = named("seed", (seed.seed for entry in c.entries for seed in entry.seeds))
    batch = "" if c.batch_size is None else f" of batch size {c.batch_size}"
    return (
        f"{c.data}, {c.model}, {count(c.epochs, 'epoch')}{batch}, {seeds}, "
        f"{count(c.train_images, 'training image')}. "
        f"{sentence(c.metric.title)} on the {c.split} split{spelled(c.metric)}, mean ± sample standard "
        f"deviation over n seeds; gain{points(c.metric)} over {c.baseline} at the last epoch, positive is "
        "better, paired by seed ± standard error [95 % interval]."
    )


def rows_of(comparison: Comparison) -> list[dict[str, str]]:
    """A row a method, heading -> text; those that diverged with every seed come last, without numbers."""
    rows = [row(comparison, entry) for entry in comparison.entries]
    empty = dict.fromkeys(rows[0], NOTHING)
    for label in comparison.never_finished:
        rows.append({**empty, "method": label, "n": _count(comparison, label, 0)})
    return rows


def _count(comparison: Comparison, label: str, finished: int) -> str:
    """How many seeds a row is over: 2, or 1 (1 diverged)."""
    diverged = len(comparison.diverged.get(label, ()))
    return f"{finished} ({diverged} diverged)" if diverged else str(finished)


def row(comparison: Comparison, entry: Entry) -> dict[str, str]:
    """Heading -> text; the headings, and their order, are those of every entry."""
    measured, best = f"{comparison.split} {comparison.metric.title}", entry.best
    return {
        "method": entry.label,
        "n": _count(comparison, entry.label, entry.last.n),
        f"{measured}, last epoch": mean_std(entry.last),
        **({} if best is None else {f"{measured}, best val epoch": mean_std(best)}),
        "gain": gain_text(entry),
        "train time": duration(entry.train_seconds.mean),
        "time ratio": NOTHING if entry.train_ratio is None else f"{entry.train_ratio.mean:.2f}",
        "parameters trained": millions(entry.parameters_trained, 2),
        "deployed": millions(entry.parameters_deployed, 2),
        "MACs": millions(entry.macs, 1),
    }


def gain_text(entry: Entry) -> str:
    """+1.25 ± 0.25 [-1.93, +4.43] (2 pairs)"""
    return NOTHING if entry.gain is None else gain_of(entry.gain, entry.last.n)


def gain_of(gain: Gain, n: int) -> str:
    """The same, of a method with n seeds."""
    text = f"{gain.mean:+.2f}"
    if gain.se is not None:
        text += f" ± {gain.se:.2f}"
    if gain.interval is not None:
        text += f" [{gain.interval[0]:+.2f}, {gain.interval[1]:+.2f}]"
    if gain.pairs == n and gain.interval is not None:
        return text
    return f"{text} ({count(gain.pairs, 'pair')})"


def to_markdown(comparison: Comparison) -> str:
    """The table, its caption, its notes; the teachers that were trained; every read-out, of several."""
    rows = rows_of(comparison)
    notes = [f"- {escaped(note)}" for note in comparison.notes]
    lines = [
        escaped(caption(comparison)),
        "",
        *markdown_table(rows, LEFT),
        *([""] if notes else []),
        *notes,
        "",
    ]
    if teachers := teacher_rows(comparison.teachers, comparison.metric):
        lines += [escaped(TEACHERS), "", *markdown_table(teachers, LEFT), ""]
    if readouts := readout_rows(comparison):
        lines += [escaped(readout_caption(comparison)), "", *markdown_table(readouts, LEFT), ""]
    return "\n".join(lines)


def to_csv(comparison: Comparison) -> str:
    """One line a method, full precision; an empty cell is a number that cannot be given."""
    rows = [_csv_row(comparison, entry) for entry in comparison.entries]
    shared = ("baseline", "data", "model", "epochs", "batch_size", "train_images", "split")
    never = dict.fromkeys(rows[0]) | {key: rows[0][key] for key in shared}
    for label in comparison.never_finished:
        rows.append({**never, "label": label, "n": 0, "diverged": len(comparison.diverged[label])})
    return csv_text(rows)


def _csv_row(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    gain, best, measured = entry.gain, entry.best, stem(comparison.metric)
    low, high = gain.interval if gain and gain.interval else (None, None)
    return {
        "label": entry.label,
        "method": entry.method,
        "options": json.dumps(entry.options),
        "baseline": comparison.baseline,
        "data": comparison.data,
        "model": comparison.model,
        "epochs": comparison.epochs,
        "batch_size": comparison.batch_size,
        "train_images": comparison.train_images,
        "split": comparison.split,
        "n": entry.last.n,
        "diverged": len(comparison.diverged.get(entry.label, ())),
        "seeds": " ".join(str(seed.seed) for seed in entry.seeds),
        "parameters_trained": entry.parameters_trained.mean,
        "parameters_deployed": entry.parameters_deployed.mean,
        "macs": entry.macs.mean,
        f"last_{measured}_mean": entry.last.mean,
        f"last_{measured}_std": entry.last.std,
        f"best_{measured}_mean": best.mean if best else None,
        f"best_{measured}_std": best.std if best else None,
        "gain_mean": gain.mean if gain else None,
        "gain_se": gain.se if gain else None,
        "gain_low": low,
        "gain_high": high,
        "gain_pairs": gain.pairs if gain else None,
        "train_seconds_mean": entry.train_seconds.mean,
        "train_ratio_mean": entry.train_ratio.mean if entry.train_ratio else None,
    }


def to_json(comparison: Comparison) -> str:
    """Everything, the values of every seed too."""
    whole = {"caption": caption(comparison), **asdict(comparison), "metric": comparison.metric._asdict()}
    whole["teachers"] = [teacher.record(comparison.metric) for teacher in comparison.teachers]
    for entry in whole["entries"]:
        entry["readouts"] = [_named(readout, comparison.metric.name) for readout in entry["readouts"]]
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _named(readout: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The read-out with its headline metric under the metric's name; of segmentation there is no top-5."""
    told = {metric if key == "headline" else key: value for key, value in readout.items()}
    return told if metric == TOP1_ERROR.name else {k: v for k, v in told.items() if k != "top5_error"}


def to_rich(comparison: Comparison) -> Table:
    """The table for a terminal of 80 columns: sizes that all methods share go below it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = rows_of(comparison)
    shared = [key for key in SIZES if len({cells[key] for cells in rows} - {NOTHING}) == 1]
    sizes = ", ".join(f"{key} {rows[0][key]}" for key in shared)
    below = [
        caption(comparison),
        *([f"All methods: {sizes}."] if shared else []),
        *teacher_lines(comparison.teachers, comparison.metric),
        *comparison.notes,
    ]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, caption_justify="left")
    table.caption = Text("\n" + "\n".join(below))
    table.add_column("method", min_width=13)
    for cells in rows:
        ratio = cells.pop("time ratio")
        cells["train time"] += "" if cells["train time"] == NOTHING else f"\n(x {ratio})"
    numbers = [key for key in rows[0] if key not in ("method", *shared)]
    for key in numbers:
        table.add_column(_broken(key), justify="right", no_wrap=True)
    for cells in rows:
        table.add_row(
            Text(cells["method"]),
            *(Text(cells[key].replace(" [", "\n[").replace(" (", "\n(")) for key in numbers),
        )
    return table


def _broken(heading: str) -> str:
    """A heading over several lines."""
    if "," not in heading:
        return heading.replace(" ", "\n")
    measured, epoch = heading.rsplit(", ", 1)
    return "\n".join([*textwrap.wrap(f"{measured},", HEADING_WIDTH), epoch])
