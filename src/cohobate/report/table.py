"""A comparison as a table: Markdown, CSV, JSON, terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .comparison import Comparison, Entry, Stat, compare, listed

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Comparison", "caption", "compare", "row", "to_csv", "to_json", "to_markdown", "to_rich"]

NOTHING = "—"
SIZES = ("parameters trained", "deployed", "MACs")


def caption(comparison: Comparison) -> str:
    """What the numbers are, for a reader who sees nothing but the table."""
    c = comparison
    seeds = listed({seed.seed for entry in c.entries for seed in entry.seeds})
    batch = "" if c.batch_size is None else f" of batch size {c.batch_size}"
    return (
        f"{c.data}, {c.model}, {c.epochs} epochs{batch}, seeds {seeds}, {c.train_images:,} training images. "
        f"Error on the {c.split} split, percent, mean ± sample standard deviation over n seeds; "
        f"gain in points over {c.baseline} at the last epoch, positive is better, "
        "paired by seed ± standard error [95 % interval]."
    )


def row(comparison: Comparison, entry: Entry) -> dict[str, str]:
    """Heading -> text; the headings, and their order, are those of every entry."""
    split, best = comparison.split, entry.best
    return {
        "method": entry.label,
        "n": str(entry.last.n),
        f"{split} error, last epoch": error(entry.last),
        **({} if best is None else {f"{split} error, best val epoch": error(best)}),
        "gain": gain(entry),
        "train time": duration(entry.train_seconds.mean),
        "time ratio": NOTHING if entry.train_ratio is None else f"{entry.train_ratio.mean:.2f}",
        "parameters trained": millions(entry.parameters_trained, 2),
        "deployed": millions(entry.parameters_deployed, 2),
        "MACs": millions(entry.macs, 1),
    }


def error(stat: Stat) -> str:
    return f"{stat.mean:.2f}" if stat.std is None else f"{stat.mean:.2f} ± {stat.std:.2f}"


def gain(entry: Entry) -> str:
    if entry.gain is None:
        return NOTHING
    found = entry.gain
    text = f"{found.mean:+.2f}"
    if found.se is not None:
        text += f" ± {found.se:.2f}"
    if found.interval is not None:
        text += f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
    if found.pairs == entry.last.n and found.interval is not None:
        return text
    return f"{text} ({found.pairs} pair{'s' * (found.pairs != 1)})"


def millions(stat: Stat, digits: int) -> str:
    """0.27 M, 40.6 M, 4.1 G; with ± where seeds differ, as after a search."""
    if stat.mean < 1e4:
        unit, name, digits = 1.0, "", 0
    else:
        unit, name = (1e6, " M") if stat.mean < 1e9 else (1e9, " G")
    spread = f" ± {stat.std / unit:.{digits}f}" if stat.std else ""
    return f"{stat.mean / unit:,.{digits}f}{spread}{name}"


def duration(seconds: float) -> str:
    """In seconds up to about three hours, so that one column rarely mixes units."""
    if seconds < 1e4:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
    return f"{seconds / 3600:.1f} h"


def to_markdown(comparison: Comparison) -> str:
    """The table, its caption, its notes."""
    rows = [row(comparison, entry) for entry in comparison.entries]
    head = list(rows[0])
    lines = [cells(head), cells(["---", *["---:"] * (len(head) - 1)])]
    lines += [cells([marked(text) for text in found.values()]) for found in rows]
    notes = [f"- {marked(note)}" for note in comparison.notes]
    return "\n".join([marked(caption(comparison)), "", *lines, *([""] if notes else []), *notes, ""])


def cells(texts: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(texts)} |"


def marked(text: str) -> str:
    """Plain text as Markdown that fits in one cell."""
    for symbol in ("\\", "|", "*", "`"):
        text = text.replace(symbol, f"\\{symbol}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def to_csv(comparison: Comparison) -> str:
    """One line a method, full precision; an empty cell is a number that cannot be given."""
    rows = [_csv_row(comparison, entry) for entry in comparison.entries]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _csv_row(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    found, best = entry.gain, entry.best
    low, high = found.interval if found and found.interval else (None, None)
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
        "seeds": " ".join(str(seed.seed) for seed in entry.seeds),
        "parameters_trained": entry.parameters_trained.mean,
        "parameters_deployed": entry.parameters_deployed.mean,
        "macs": entry.macs.mean,
        "last_error_mean": entry.last.mean,
        "last_error_std": entry.last.std,
        "best_error_mean": best.mean if best else None,
        "best_error_std": best.std if best else None,
        "gain_mean": found.mean if found else None,
        "gain_se": found.se if found else None,
        "gain_low": low,
        "gain_high": high,
        "gain_pairs": found.pairs if found else None,
        "train_seconds_mean": entry.train_seconds.mean,
        "train_ratio_mean": entry.train_ratio.mean if entry.train_ratio else None,
    }


def to_json(comparison: Comparison) -> str:
    """Everything, the values of every seed too."""
    whole = {"caption": caption(comparison), **asdict(comparison)}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def to_rich(comparison: Comparison) -> Table:
    """The table for a terminal of 80 columns: sizes that all methods share go below it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [row(comparison, entry) for entry in comparison.entries]
    shared = [key for key in SIZES if len({found[key] for found in rows}) == 1]
    sizes = ", ".join(f"{key} {rows[0][key]}" for key in shared)
    below = [caption(comparison), *([f"All methods: {sizes}."] if shared else []), *comparison.notes]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, caption_justify="left")
    table.caption = Text("\n" + "\n".join(below))
    table.add_column("method", min_width=13)
    for found in rows:
        found["train time"] += f"\n(x {found.pop('time ratio')})"
    numbers = [key for key in rows[0] if key not in ("method", *shared)]
    for key in numbers:
        heading = key.replace(", ", ",\n") if "," in key else key.replace(" ", "\n")
        table.add_column(heading, justify="right", no_wrap=True)
    for found in rows:
        table.add_row(
            Text(found["method"]),
            *(Text(found[key].replace(" [", "\n[").replace(" (", "\n(")) for key in numbers),
        )
    return table
