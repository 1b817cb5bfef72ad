"""Text of tables: what metrics are called, numbers, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.metrics import MIOU, TOP1_ERROR, Metric
from .stats import Stat

EMPHASIS = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Markdown takes an underscore at the edge of a word for emphasis, and none within a word."""

NOTHING = "—"
"""Stands for a number that cannot be given."""

COLUMNS = {
    **{TOP1_ERROR.name: "top-1 error, %", "top5_error": "top-5 error, %", "nll": "NLL", "ece": "ECE, %"},
    **{MIOU.name: "mIoU, %", "miou_original": "mIoU original size, %", "pixel_accuracy": "pixel accuracy, %"},
}
"""Recorded measure -> its heading, in the order of tables."""


def heading(metric: Metric) -> str:
    """top-1 error, %"""
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def valued(metric: Metric, value: float) -> str:
    """top-1 error 12.34 %"""
    return f"{metric.title} {value:.2f} {metric.unit}".rstrip()


def column(measure: str, headline: Metric) -> str:
    """The heading of a recorded measure; of one that is not known here, its key."""
    return heading(headline) if measure == headline.name else COLUMNS.get(measure, measure)


def known_columns(measured: Mapping[str, Any], headline: Metric) -> dict[str, str]:
    """Measure -> heading of those measures that are known here: the headline metric first."""
    known = dict.fromkeys([headline.name, *COLUMNS])
    return {key: column(key, headline) for key in known if key in measured}


def spelled(metric: Metric, separator: str = ", ") -> str:
    """The unit in words, after a separator; empty where the metric has no unit."""
    unit = "percent" if metric.unit == "%" else metric.unit
    return f"{separator}{unit}" if unit else ""


def points(metric: Metric) -> str:
    """Of a difference: " in points" for percent, else " in <unit>"."""
    unit = "points" if metric.unit == "%" else metric.unit
    return f" in {unit}" if unit else ""


def sentence(text: str) -> str:
    """The text with a capital first letter, unless its first word has one elsewhere: mIoU."""
    first = text.partition(" ")[0]
    return text if first != first.lower() else text[:1].upper() + text[1:]


def extreme(metric: Metric) -> str:
    """The better end of the metric: lowest or highest."""
    return "lowest" if metric.lower_is_better else "highest"


def stem(metric: Metric) -> str:
    """The metric in column names of CSV and keys of JSON: ``error`` for top-1 error, else its name."""
    return "error" if metric.name == TOP1_ERROR.name else metric.name


def mean_std(stat: Stat | None, digits: int = 2) -> str:
    """12.34 ± 0.56"""
    if stat is None:
        return NOTHING
    spread = "" if stat.std is None else f" ± {stat.std:.{digits}f}"
    return f"{stat.mean:.{digits}f}{spread}"


def millions(stat: Stat, digits: int) -> str:
    """0.27 M, 40.6 M, 4.1 G; with ± where seeds differ, as after a search."""
    if stat.mean < 1e4:
        unit, name, digits = 1.0, "", 0
    else:
        unit, name = (1e6, " M") if stat.mean < 1e9 else (1e9, " G")
    spread = f" ± {stat.std / unit:.{digits}f}" if stat.std else ""
    return f"{stat.mean / unit:,.{digits}f}{spread}{name}"


def millions_of(number: float, digits: int) -> str:
    """0.27 M, of one number (:func:`millions`)."""
    return millions(Stat.of([number]), digits)


def duration(seconds: float) -> str:
    """In seconds up to about three hours, so that one column rarely mixes units."""
    if seconds < 1e4:
        return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
    return f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------- Markdown and CSV


def markdown_table(rows: Sequence[Mapping[str, str]], left: Sequence[str]) -> list[str]:
    """Lines of a table whose headings are the keys of its rows; columns not named in ``left`` align right."""
    head = [escaped(name) for name in rows[0]]
    aligned = ["---" if name in left else "---:" for name in rows[0]]
    texts = [[escaped(text) for text in row.values()] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (head, aligned, *texts)]


def escaped(text: str) -> str:
    """Plain text as Markdown that fits in one cell."""
    for symbol in ("\\", "|", "*", "`", "~", "$"):
        text = text.replace(symbol, f"\\{symbol}")
    text = EMPHASIS.sub(r"\\_", text)
    text = text.replace("](", "]\\(")  # no link
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, their keys as its header; None is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
