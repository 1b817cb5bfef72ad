"""A sweep as a table: Markdown, CSV, JSON, terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...config.words import count, named
from .sweep import Row, Sweep
from .text import csv_text, escaped, markdown_table, mean_std, sentence, spelled, stem

if TYPE_CHECKING:
    from rich.table import Table

SPLITS = ("val", "test")


def caption(sweep: Sweep) -> str:
    """What the numbers are, for a reader who sees only the table."""
    seeds = named("seed", (trial.seed for row in sweep.rows for trial in row.trials))
    parts: dict[str, Callable[[Any], str]] = {
        "data": str,
        "model": str,
        "epochs": lambda n: count(n, "epoch"),
        "batch_size": lambda n: f"batch size {n}",
        "train_images": lambda n: count(n, "training image"),
    }
    alike = [words(sweep.settings[key]) for key, words in parts.items() if key in sweep.settings]
    about = f" ({sweep.about.strip().rstrip('.')})" if sweep.about else ""
    return (
        f"{sweep.label} over {sweep.option}{about}; {', '.join([*alike, seeds])}. "
        f"{sentence(sweep.metric.title)} at the last epoch{spelled(sweep.metric)}, mean ± sample standard "
        "deviation over n seeds."
    )


def table_rows(sweep: Sweep) -> list[dict[str, str]]:
    """Heading -> text, of every value and then of every method without the option."""
    everything = (*sweep.rows, *sweep.beside)
    splits = [split for split in SPLITS if any(row.measured(split) for row in everything)]
    return [
        {
            sweep.option: row.name,
            "n": str(len(row.trials) - row.diverged),
            **{f"{split} {sweep.metric.title}": mean_std(row.stat(split)) for split in splits},
            "note": _note(sweep, row),
        }
        for row in everything
    ]


def _note(sweep: Sweep, row: Row) -> str:
    notes = []
    if row in sweep.rows:
        if row.name in sweep.best:
            notes.append("best on val")
        if sweep.marked is not None and row.name == sweep.marked[0]:
            notes.append(sweep.marked[1])
    else:
        notes.append("beside")
    if row.diverged:
        notes.append("diverged" if row.diverged == len(row.trials) else f"{row.diverged} diverged")
    return ", ".join(notes)


def to_markdown(sweep: Sweep) -> str:
    """The table, its caption, its notes."""
    lines = markdown_table(table_rows(sweep), left=(sweep.option, "note"))
    notes = [f"- {escaped(note)}" for note in sweep.notes]
    return "\n".join([escaped(caption(sweep)), "", *lines, "", *notes, ""])


def to_csv(sweep: Sweep) -> str:
    """One line a run, full precision; an empty cell is a number that cannot be given."""
    measured = stem(sweep.metric)
    rows = []
    for row in (*sweep.rows, *sweep.beside):
        swept = row in sweep.rows
        for trial in row.trials:
            rows.append(
                {
                    "option": sweep.option if swept else None,
                    "value": row.name if swept else None,
                    "method": sweep.label if swept else row.name,
                    "seed": trial.seed,
                    "epoch": trial.epoch,
                    f"val_{measured}": trial.val,
                    f"test_{measured}": trial.test,
                    "diverged": trial.diverged,
                    "folder": trial.folder,
                }
            )
    return csv_text(rows)


def to_json(sweep: Sweep) -> str:
    """Everything, every run too."""
    whole = {"caption": caption(sweep), **asdict(sweep), "metric": sweep.metric._asdict()}
    for row, source in zip((*whole["rows"], *whole["beside"]), (*sweep.rows, *sweep.beside), strict=True):
        for split in SPLITS:
            stat = source.stat(split)
            row[f"{split}_{stem(sweep.metric)}"] = None if stat is None else asdict(stat)
    return json.dumps(whole, indent=2, ensure_ascii=False, default=str) + "\n"


def to_rich(sweep: Sweep) -> Table:
    """The table for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = table_rows(sweep)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, caption_justify="left")
    table.caption = Text("\n" + "\n".join([caption(sweep), *sweep.notes]))
    for i, heading in enumerate(rows[0]):
        left = i == 0 or heading == "note"
        # The split on a line of its own: the columns stay as narrow as their numbers.
        table.add_column(heading.replace(" ", "\n", 1), justify="left" if left else "right")
    for number, row in enumerate(rows, 1):
        table.add_row(*map(Text, row.values()), end_section=number == len(sweep.rows))
    return table
