"""The figure, the table and the page of a sweep, from errors chosen by the test."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest
from run_folders import MakeRun

from cohobate.report.figures.chart import PALETTE
from cohobate.report.figures.sweep import draw, places
from cohobate.report.files import sweep_files
from cohobate.report.tables.sweep import Sweep, Trial, gather, shown
from cohobate.report.tables.sweep_table import table_rows, to_csv, to_json, to_markdown, to_rich

GREEN = PALETTE[2].lower()
Errors = Sequence[float | None]


def trials(errors: Errors, val: float | None = 1.0) -> list[Trial]:
    """A run a seed: its test error, with ``val`` more on the validation split; None diverged."""
    told = "the loss term 'cd' of phase 'train' became nan in epoch 3; lower lr"
    return [
        Trial(seed, f"s/seed-{seed}", None, None, None, told)
        if error is None
        else Trial(seed, f"s/seed-{seed}", 30, None if val is None else error + val, error)
        for seed, error in enumerate(errors)
    ]


def swept(values: Mapping[Any, Errors], beside: Mapping[str, Errors] = {}, **more: Any) -> Sweep:
    found = {value: trials(errors) for value, errors in values.items()}
    others = {name: trials(errors) for name, errors in beside.items()}
    return gather("ffm_cd", "gamma", found, others, [], **more)


GAMMAS = {1e-4: (None, None), 5e-8: (24.8, 24.9), 1e-10: (25.4, 25.6), 1e-6: (25.0, None)}
OTHERS = {"okddip": (25.45, 25.47), "one": (25.76, 25.7)}


def texts(svg: str) -> list[str]:
    return [
        "".join(node.itertext()) for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text")
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(5e-8, "5e-8"), (1e-10, "1e-10"), (1e30, "1e30"), (0.25, "0.25"), (4.0, "4"), (7, "7"), (0.0, "0"),
     (None, "none"), (True, "True"), ("sgd", "sgd"), (-1e-12, "-1e-12")],
)  # fmt: skip
def test_a_value_as_one_writes_it(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((1e-10, 1e-9, 1e-4), "log"),
        ((1, 2, 20), "linear"),
        ((1, 2, 21), "log"),
        ((0, 1, 100), "log"),
        ((0, 1, 2), "linear"),
        ((0.0,), "linear"),
        ((-1, 1, 100), "linear"),
        ((True, False), "words"),
        ((None, 1.0), "words"),
        (("sgd", "adamw"), "words"),
    ],
)
def test_the_axis_fits_the_values(values: tuple[Any, ...], kind: str) -> None:
    found, xs = places(values)
    assert found == kind
    assert len(set(xs)) == len(values)


def test_zero_stands_one_step_left_of_the_smallest() -> None:
    _, xs = places((0, 0.01, 0.1, 1, 10))
    assert xs == pytest.approx([-3, -2, -1, 0, 1])
    _, xs = places((0, 0.01, 100))
    assert xs == pytest.approx([-6, -2, 2])


def test_the_figure_has_values_dashes_the_mark_and_what_diverged() -> None:
    svg = draw(swept(GAMMAS, OTHERS, mark=(5e-8, "marked")))
    said = texts(svg)
    for text in ("1e-10", "5e-8", "1e-6", "0.0001", "gamma, logarithmic", "test top-1 error, percent"):
        assert text in said
    for text in ("ffm_cd, mean of 2 ± std", "okddip, mean of 2", "one, mean of 2", "diverged"):
        assert text in said
    assert "gamma 5e-8, marked" in said
    # Each method beside: a dashed line, and its sample in the legend.
    assert len(re.findall(r"stroke-dasharray: [1-9]", svg)) == 4
    assert len(re.findall(rf"<use [^>]*fill: {GREEN}", svg)) == 2


def test_without_mark_seeds_or_methods_beside_the_figure_is_plain() -> None:
    svg = draw(swept({1.0: (25.0,), 2.0: (24.0,)}))
    assert GREEN not in svg
    assert "stroke-dasharray" not in svg
    said = texts(svg)
    assert "ffm_cd" in said
    assert "gamma" in said
    assert "diverged" not in said


def test_words_are_not_joined_by_a_line() -> None:
    def joined(values: Mapping[Any, Errors]) -> int:
        return len(
            re.findall(rf'<path d="[^"]*L[^"]*"[^>]*stroke: {PALETTE[0].lower()}', draw(swept(values)))
        )

    assert joined({"sgd": (25.0,), "adamw": (24.0,)}) == joined({1.0: (25.0,), 2.0: (24.0,)}) - 2


def test_all_of_it_can_diverge() -> None:
    found = swept({1.0: (None,), 2.0: (None,)})
    assert found.best == ()
    assert "diverged" in texts(draw(found))
    assert "—" not in to_markdown(found)


def test_labels_of_values_never_overlap() -> None:
    values = {0.01 * i: (25.0,) for i in range(1, 16)}
    said = texts(draw(swept(values, mark=(0.08, "marked"))))
    assert {"0.01", "0.08", "0.15"} <= set(said)
    assert len([text for text in said if re.fullmatch(r"0\.\d+", text)]) <= 15


def test_the_lowest_validation_error_is_best_not_the_lowest_test_error() -> None:
    values = {1.0: [Trial(0, "a", 1, 20.0, 30.0)], 2.0: [Trial(0, "b", 1, 21.0, 10.0)]}
    found = gather("kd", "weight", values, {}, [])
    assert found.best == ("1",)
    rows = table_rows(found)
    assert [row["note"] for row in rows] == ["best on val", ""]
    assert [(row["val top-1 error"], row["test top-1 error"]) for row in rows] == [
        ("20.00", "30.00"),
        ("21.00", "10.00"),
    ]


def test_a_value_that_diverged_once_is_not_best() -> None:
    found = swept({1.0: (10.0, None), 2.0: (20.0, 20.0)})
    assert found.best == ("2",)
    assert [row["note"] for row in table_rows(found)] == ["1 diverged", "best on val"]
    assert [row["n"] for row in table_rows(found)] == ["1", "2"]


@pytest.mark.parametrize(
    ("val", "test", "split", "note"),
    [
        (20.0, 30.0, "test", "Choose by the top-1 error on the validation split"),
        (20.0, None, "val", "There is no test split: the lowest top-1 error"),
        (None, 30.0, "test", "There is no validation split"),
    ],
)
def test_which_split_may_choose(val: float | None, test: float | None, split: str, note: str) -> None:
    values = {v: [Trial(0, "a", 1, val, test)] for v in (1.0, 2.0)}
    found = gather("kd", "weight", values, {}, [])
    assert (found.split, len(found.notes)) == (split, 1)
    assert found.notes[0].startswith(note)
    assert bool(found.best) == (val is not None)
    assert f"{split} top-1 error, percent" in texts(draw(found))


def test_the_table_in_every_form() -> None:
    found = swept(GAMMAS, OTHERS, mark=(5e-8, "default"))
    rows = table_rows(found)
    assert [row["gamma"] for row in rows] == ["1e-10", "5e-8", "1e-6", "0.0001", "okddip", "one"]
    assert rows[0]["test top-1 error"] == f"25.50 ± {math.sqrt(0.02):.2f}"
    assert [row["note"] for row in rows[1:]] == [
        "best on val, default", "1 diverged", "diverged", "beside", "beside",
    ]  # fmt: skip
    markdown = to_markdown(found)
    assert "| 5e-8 | 2 | 25.85 ± 0.07 | 24.85 ± 0.07 | best on val, default |" in markdown
    assert (
        "- gamma=1e-6, seed 1, diverged: the loss term 'cd' of phase 'train' became nan in epoch 3."
        in markdown
    )
    lines = list(csv.DictReader(to_csv(found).splitlines()))
    assert len(lines) == 12
    assert (lines[0]["value"], lines[0]["test_error"], lines[0]["diverged"]) == ("1e-10", "25.4", "")
    assert (lines[6]["value"], lines[6]["test_error"]) == ("0.0001", "")
    assert "lower lr" in lines[6]["diverged"]
    assert (lines[-1]["value"], lines[-1]["method"]) == ("", "one")
    whole = json.loads(to_json(found))
    assert whole["rows"][1]["test_error"]["mean"] == pytest.approx(24.85)
    assert whole["rows"][3]["test_error"] is None
    assert to_rich(found).row_count == 6


def test_the_page_and_the_files(make_run: MakeRun) -> None:
    runs = [make_run(f"weight={v}/seed-0", options={"weight": v}, last=10.0 + v) for v in (1.0, 2.0)]
    values = {run.config["weight"]: [Trial.of(run)] for run in runs}
    found = gather("kd", "weight", values, {}, runs, about="Factor of <the> term.")
    files = sweep_files(found, runs)
    assert list(files) == ["sweep.svg", "sweep.json", "sweep.csv", "sweep.md", "index.html"]
    page = files["index.html"]
    assert "2 values of weight, resnet20 on cifar10" in page
    assert "Factor of &lt;the&gt; term" in page
    assert "cohobate train supervised" in page
    assert page.count("<svg") == 1
    assert "cifar10, resnet20, 4 epochs, batch size 128, 45,000 training images, seed 0" in files["sweep.md"]
    assert files == sweep_files(found, runs)


def test_what_the_runs_do_not_share_is_not_said(make_run: MakeRun) -> None:
    runs = [make_run(f"epochs={n}/seed-0", epochs=n) for n in (2, 4)]
    found = gather("kd", "epochs", {run.config["epochs"]: [Trial.of(run)] for run in runs}, {}, runs)
    assert "epochs" not in found.settings
    assert found.settings["model"] == "resnet20"


def test_a_run_that_has_not_finished_is_refused(make_run: MakeRun) -> None:
    run = make_run(finished=False)
    assert Trial.of(run, "a loss became nan").diverged == "a loss became nan"
    with pytest.raises(ValueError, match="has not finished"):
        Trial.of(run)
