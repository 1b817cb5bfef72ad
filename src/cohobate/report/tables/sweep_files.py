"""What a sweep leaves: its table, for a terminal and for files, and its page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...runs.reading import Run
from ..figures.sweep_figure import draw
from ..markup import Html, document, join, tag, wide_table
from ..page import figure, origin, section
from .comparison import listed
from .sweep import Row, Sweep
from .table import NOTHING, cells, error, marked

if TYPE_CHECKING:
    from rich.table import Table


def caption(sweep: Sweep) -> str:
    """What the numbers are, for a reader who sees nothing but the table."""
    seeds = listed({trial.seed for row in sweep.rows for trial in row.trials})
    parts: dict[str, Callable[[Any], str]] = {
        "data": str,
        "model": str,
        "epochs": lambda n: f"{n} epochs",
        "batch_size": lambda n: f"batch size {n}",
        "train_images": lambda n: f"{n:,} training images",
    }
    alike = [words(sweep.settings[key]) for key, words in parts.items() if key in sweep.settings]
    about = f" ({sweep.about.strip().rstrip('.')})" if sweep.about else ""
    return (
        f"{sweep.label} over {sweep.option}{about}; {', '.join([*alike, f'seeds {seeds}'])}. "
        "Top-1 error at the last epoch, percent, mean ± sample standard deviation over n seeds."
    )


def table_rows(sweep: Sweep) -> list[dict[str, str]]:
    """Heading -> text, of every value and then of every method beside."""
    splits = [s for s in ("val", "test") if any(row.errors(s) for row in (*sweep.rows, *sweep.beside))]
    return [
        {
            sweep.option: row.name,
            "n": str(len(row.trials) - row.diverged),
            **{f"{split} error": _error(row, split) for split in splits},
            "note": _remark(sweep, row),
        }
        for row in (*sweep.rows, *sweep.beside)
    ]


def _error(row: Row, split: str) -> str:
    stat = row.stat(split)
    return NOTHING if stat is None else error(stat)


def _remark(sweep: Sweep, row: Row) -> str:
    said = []
    if row in sweep.rows:
        if row.name in sweep.best:
            said.append("lowest val error")
        if sweep.marked is not None and row.name == sweep.marked[0]:
            said.append(sweep.marked[1])
    else:
        said.append("beside")
    if row.diverged:
        said.append("diverged" if row.diverged == len(row.trials) else f"{row.diverged} diverged")
    return ", ".join(said)


def to_markdown(sweep: Sweep) -> str:
    """The table, its caption, its notes."""
    rows = table_rows(sweep)
    lines = [cells(list(rows[0])), cells(["---", *["---:"] * (len(rows[0]) - 2), "---"])]
    lines += [cells([marked(text) for text in row.values()]) for row in rows]
    notes = [f"- {marked(note)}" for note in sweep.notes]
    return "\n".join([marked(caption(sweep)), "", *lines, "", *notes, ""])


def to_csv(sweep: Sweep) -> str:
    """One line a run, full precision; an empty cell is a number that there is not."""
    out = io.StringIO()
    head = ["option", "value", "method", "seed", "epoch", "val_error", "test_error", "diverged", "folder"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in (*sweep.rows, *sweep.beside):
        swept = row in sweep.rows
        what = [sweep.option, row.name, sweep.label] if swept else [None, None, row.name]
        for t in row.trials:
            writer.writerow([*what, t.seed, t.epoch, t.val, t.test, t.diverged, t.folder])
    return out.getvalue()


def to_json(sweep: Sweep) -> str:
    """Everything, every run too."""
    whole = {"caption": caption(sweep), **asdict(sweep)}
    for row, source in zip((*whole["rows"], *whole["beside"]), (*sweep.rows, *sweep.beside), strict=True):
        for split in ("val", "test"):
            stat = source.stat(split)
            row[f"{split}_error"] = None if stat is None else asdict(stat)
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
        table.add_column(heading, justify="left" if heading == "note" or i == 0 else "right")
    for number, row in enumerate(rows, 1):
        table.add_row(*map(Text, row.values()), end_section=number == len(sweep.rows))
    return table


# ---------------------------------------------------------------- what is left on disk


def page(sweep: Sweep, runs: Sequence[Run]) -> str:
    """The figure, the table, and how it was made."""
    rows = table_rows(sweep)
    count = f"{len(sweep.rows)} value{'s' * (len(sweep.rows) != 1)} of {sweep.option}"
    where = [str(sweep.settings[key]) for key in ("model", "data") if key in sweep.settings]
    words = "Bars: one sample standard deviation. Faint: a run. Dashed: a method beside."
    return document(
        f"{sweep.label} over {sweep.option}",
        f"{count}, {' on '.join(where)}" if where else count,
        section("Figure", tag("div", figure(draw(sweep), words), style="max-width: 44rem")),
        section("Results", _results(sweep, rows)),
        section("How it was made", *origin(runs)),
    )


def _results(sweep: Sweep, rows: Sequence[Mapping[str, str]]) -> Html:
    return join(
        tag("p", caption(sweep), cls="caption"),
        wide_table(rows[0], [list(row.values()) for row in rows]),
        tag("ul", *(tag("li", note) for note in sweep.notes), cls="notes"),
    )


def sweep_files(sweep: Sweep, runs: Sequence[Run]) -> dict[str, str]:
    """sweep.svg, sweep.json, sweep.csv, sweep.md, index.html."""
    return {
        "sweep.svg": draw(sweep),
        "sweep.json": to_json(sweep),
        "sweep.csv": to_csv(sweep),
        "sweep.md": to_markdown(sweep),
        "index.html": page(sweep, runs),
    }
