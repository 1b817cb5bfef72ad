"""Predictions as text: what a reader of CSV or JSON gets back."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from cohobate.commands.console import text_of
from cohobate.report.tables.predictions import (
    Prediction,
    columns,
    csv_row,
    csv_text,
    json_line,
    rounded,
    to_rich,
)

EACH = [
    Prediction('a "b", c\n.png', ['cat, "red"', "ü"], [0.75, 0.25], 1),
    Prediction("caf\udce9.png", ["ü", "=1+1"], [1.0, 1e-50], 0),
]


def test_csv_is_read_back() -> None:
    text = csv_text([columns(2, True), *map(csv_row, EACH)])
    text.encode()  # it can be written to a file
    header, one, two = csv.reader(io.StringIO(text, newline=""))
    assert header == ["path", "label", "probability", "label_2", "probability_2", "stage"]
    assert one == ['a "b", c\n.png', 'cat, "red"', "0.75", "ü", "0.25", "1"]
    assert two == [r"caf\xe9.png", "ü", "1.0", "=1+1", "1e-50", "0"]


def test_json_is_read_back() -> None:
    one, two = (json.loads(json_line(each)) for each in EACH)
    assert one["path"] == 'a "b", c\n.png'
    assert one["labels"][0] == {"label": 'cat, "red"', "probability": 0.75}
    assert two == {
        "path": r"caf\xe9.png",
        "labels": [{"label": "ü", "probability": 1.0}, {"label": "=1+1", "probability": 1e-50}],
        "stage": 0,
    }
    assert "ü" in json_line(EACH[0])
    assert json_line(EACH[0]).count("\n") == 1
    assert "stage" not in json_line(EACH[0]._replace(stage=None))


def test_columns() -> None:
    assert columns(1, False) == ["path", "label", "probability"]
    assert columns(3, False)[3:] == ["label_2", "probability_2", "label_3", "probability_3"]


@pytest.mark.parametrize("value", [1 / 3, 0.1, 1.0, 0.999999881, 5.9e-8, 1e-300])
def test_nine_digits_tell_numbers_of_float32_apart(value: float) -> None:
    assert rounded(value) == pytest.approx(value, rel=1e-8)
    assert float(repr(rounded(value))) == rounded(value)
    near = value * (1 + 2**-23)
    assert rounded(near) != rounded(value)
    assert math.isfinite(rounded(value))


def test_a_table_steers_no_terminal() -> None:
    """Names of classes and files are those of whoever made them."""
    each = Prediction("a\x1b]0;title\x07.png", ["\x1b[31mred\x1b[2J", "[bold]b"], [0.75, 0.25])
    text = text_of(to_rich([each], "t"))
    assert not any(ord(c) < 32 for c in text.replace("\n", ""))
    assert r"\x1b[31mred\x1b[2J" in text
    assert r"a\x1b]0;title\x07.png" in text
    assert "[bold]b" in text
