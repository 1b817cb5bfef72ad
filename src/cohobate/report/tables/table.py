"""A comparison as a table: Markdown, CSV, JSON, terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .comparison import Comparison, Entry, Stat, compare, listed
from .readouts import DIVERSITY, ReadOut

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Comparison",
    "caption",
    "compare",
    "readout_caption",
    "readout_rows",
    "readouts_csv",
    "row",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_rich",
]

NOTHING = "—"
NAMES = ("method", "read-out")
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


def error(stat: Stat, digits: int = 2) -> str:
    spread = "" if stat.std is None else f" ± {stat.std:.{digits}f}"
    return f"{stat.mean:.{digits}f}{spread}"


def readout_caption(comparison: Comparison) -> str:
    """What the numbers of :func:`readout_rows` are."""
    text = (
        f"Every read-out on the {comparison.split} split at the last epoch: error in percent, "
        "mean ± sample standard deviation over seeds."
    )
    if _columns_of_peers(comparison):
        text += (
            " Of the peers, in the row of their mean error and not in percent: agreement s (1: right about "
            "the same images; about 0: by chance), disagreement (share of images that exactly one of two "
            "gets right) and Yule's Q (about 0: by chance), the last two as means over pairs."
        )
    return text


def readout_rows(comparison: Comparison) -> list[dict[str, str]]:
    """A line a read-out, heading -> text; empty where no method has more than the one that is deployed."""
    if not comparison.has_readouts:
        return []
    columns = _columns_of_peers(comparison)
    return [
        {
            "method": entry.label,
            "read-out": f"{found.name} (deployed)" if found.deployed else found.name,
            "top-1 error": error(found.top1_error),
            "top-5 error": _or_nothing(found.top5_error, 2),
            **{heading: _or_nothing(getattr(found, key), 3) for key, heading in columns.items()},
        }
        for entry in comparison.entries
        for found in entry.readouts
    ]


def _columns_of_peers(comparison: Comparison) -> dict[str, str]:
    """The diversity measures and their headings, where any method has them."""
    readouts = [found for entry in comparison.entries for found in entry.readouts]
    columns = dict(zip(DIVERSITY, ("agreement s", "disagreement", "Q"), strict=True))
    return {key: text for key, text in columns.items() if any(getattr(r, key) is not None for r in readouts)}


def _or_nothing(stat: Stat | None, digits: int) -> str:
    return NOTHING if stat is None else error(stat, digits)


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
    """The table, its caption, its notes; and that of every read-out, where there are several."""
    rows = [row(comparison, entry) for entry in comparison.entries]
    notes = [f"- {marked(note)}" for note in comparison.notes]
    lines = [marked(caption(comparison)), "", *_lines(rows), *([""] if notes else []), *notes, ""]
    if readouts := readout_rows(comparison):
        lines += [marked(readout_caption(comparison)), "", *_lines(readouts), ""]
    return "\n".join(lines)


def _lines(rows: Sequence[Mapping[str, str]]) -> list[str]:
    head = list(rows[0])
    aligned = ["---" if name in NAMES else "---:" for name in head]
    return [cells(head), cells(aligned), *(cells([marked(text) for text in row.values()]) for row in rows)]


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
    return _csv([_csv_row(comparison, entry) for entry in comparison.entries])


def readouts_csv(comparison: Comparison) -> str:
    """One line a read-out, full precision; an empty cell is a number that cannot be given."""
    return _csv([_csv_readout(entry, found) for entry in comparison.entries for found in entry.readouts])


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
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


def _csv_readout(entry: Entry, found: ReadOut) -> dict[str, Any]:
    stats = {key: getattr(found, key) for key in ("top1_error", "top5_error", *DIVERSITY)}
    numbers = {
        f"{key}_{part}": None if stat is None else getattr(stat, part)
        for key, stat in stats.items()
        for part in ("mean", "std")
    }
    about = {"label": entry.label, "method": entry.method, "readout": found.name, "deployed": found.deployed}
    return {**about, "n": found.top1_error.n, **numbers}


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
