"""Predictions as lines of CSV, as lines of JSON, and as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...config.text import as_text, shown

if TYPE_CHECKING:
    from rich.table import Table

DIGITS = 9
"""Significant digits of a probability: they tell any two numbers of float32 apart."""


class Prediction(NamedTuple):
    """The prediction for an image.

    Attributes:
        path: as the user gave it.
        labels: the likeliest classes, the likeliest first.
        probabilities: of these.
        stage: of a cascade, the network after which it left, from 0.
    """

    path: str
    labels: Sequence[str]
    probabilities: Sequence[float]
    stage: int | None = None


def columns(top_k: int, stages: bool) -> list[str]:
    """path, label, probability, label_2, probability_2 ..., and stage for a cascade."""
    each = [[f"label{end}", f"probability{end}"] for end in ["", *(f"_{k}" for k in range(2, top_k + 1))]]
    return ["path", *(name for pair in each for name in pair), *(["stage"] if stages else [])]


def rounded(probability: float) -> float:
    """With the digits that are written."""
    return float(f"{probability:.{DIGITS}g}")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Lines of CSV: fields with commas, quotes or line breaks are quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def csv_row(each: Prediction) -> list[object]:
    """The fields of a prediction, in the order of :func:`columns`."""
    pairs = zip(each.labels, map(rounded, each.probabilities), strict=True)
    stage = [] if each.stage is None else [each.stage]
    return [as_text(each.path), *(field for pair in pairs for field in pair), *stage]


def json_line(each: Prediction) -> str:
    """One object: path, labels with their probabilities, and stage for a cascade."""
    pairs = zip(each.labels, map(rounded, each.probabilities), strict=True)
    record = {
        "path": as_text(each.path),
        "labels": [{"label": label, "probability": probability} for label, probability in pairs],
    }
    if each.stage is not None:
        record["stage"] = each.stage  # type: ignore[assignment]
    return json.dumps(record, ensure_ascii=False) + "\n"


def to_rich(predictions: Sequence[Prediction], title: str) -> Table:
    """A table for a terminal; a path that is too long for a line goes on in the next."""
    from rich.table import Table

    table = Table(title=title)
    stages = bool(predictions) and predictions[0].stage is not None
    for name in columns(len(predictions[0].labels) if predictions else 1, stages):
        numeric = name.startswith("probability") or name == "stage"
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for each in predictions:
        table.add_row(*_cells(each))
    return table


def _cells(each: Prediction) -> Iterator[str]:
    yield shown(each.path)
    for label, probability in zip(each.labels, each.probabilities, strict=True):
        yield shown(label)
        yield f"{100 * probability:.2f} %"
    if each.stage is not None:
        yield str(each.stage)
