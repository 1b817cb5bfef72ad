"""Reports of runs whose headline metric is another than top-1 error, and better where it is higher."""

from __future__ import annotations

import csv
import io
import json
from xml.etree import ElementTree

import pytest
from rich.console import Console
from run_folders import MakeRun

from cohobate.core.metrics import MIOU as OURS
from cohobate.core.metrics import TOP1_ERROR, Metric
from cohobate.report.figures.curves import metric_curves, predictor_curves
from cohobate.report.files import comparison_files, run_files, sweep_files
from cohobate.report.tables.comparison import compare
from cohobate.report.tables.sweep import Trial, gather
from cohobate.report.tables.sweep_table import table_rows
from cohobate.report.tables.table import caption, row, to_csv, to_json
from cohobate.report.tables.teachers import teacher_lines, teacher_rows
from cohobate.report.tables.terminal import measures_table, result_table
from cohobate.report.tables.text import known_columns, sentence
from cohobate.runs.reading import Run

from .test_pages import check

MIOU = Metric("miou", "mean IoU", "%", lower_is_better=False)
NLL = Metric("nll", "NLL", "")


@pytest.fixture
def runs(make_run: MakeRun) -> list[Run]:
    """A baseline, a method that is better by 2 points, one that is worse by 3; in each, seeds differ."""
    return [
        make_run(f"{method}/{seed}", method=method, seed=seed, last=last + seed, headline=MIOU)
        for method, last in (("base", 60.0), ("kd", 62.0), ("at", 57.0))
        for seed in (0, 1, 2)
    ]


def axes_and_names(svg: str) -> str:
    return " ".join("".join(ElementTree.fromstring(svg).itertext()).split())


def test_a_higher_value_is_a_gain(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    base, kd, at = comparison.entries
    assert (base.last.mean, kd.last.mean) == (61.0, 63.0)
    assert kd.gain is not None
    assert at.gain is not None
    assert (kd.gain.mean, at.gain.mean) == (2.0, -3.0)
    assert row(comparison, kd)["test mean IoU, last epoch"] == "63.00 ± 1.00"
    assert "Mean IoU on the test split, percent" in caption(comparison)
    assert "error" not in caption(comparison).replace("standard error", "")


def test_what_is_better_is_shaded_so(make_run: MakeRun) -> None:
    gains = {"base": (60.0, 61.0, 62.0), "kd": (64.0, 65.1, 66.0), "at": (56.0, 57.1, 58.0)}
    runs = [
        make_run(f"{method}/{seed}", method=method, seed=seed, last=last, headline=MIOU)
        for method, values in gains.items()
        for seed, last in enumerate(values)
    ]
    files = comparison_files(compare(runs, "base"), runs)
    page = files["index.html"]
    assert '<mark class="better">+4.03' in page
    assert '<mark class="worse">-3.97' in page
    assert {"curves-val.svg", "table.csv"} < files.keys()
    text = check(page).text
    assert "top-1" not in text
    assert "val mean IoU, the second half enlarged" in text
    assert "mean IoU there, %" in text


def test_the_page_of_a_run_says_which_end_is_best(make_run: MakeRun) -> None:
    text = check(run_files(make_run(headline=MIOU))["report.html"]).text
    assert "mean IoU, %" in text
    assert "highest mean IoU on the validation split" in text
    assert "top-1" not in text.lower()


def test_curves_have_the_metric_on_their_axis(runs: list[Run]) -> None:
    assert "val mean IoU, percent" in axes_and_names(metric_curves(runs, "val"))
    assert "mean IoU, percent" in axes_and_names(predictor_curves(runs[0]))


def test_a_metric_without_a_unit(make_run: MakeRun) -> None:
    runs = [make_run(f"{m}", method=m, headline=NLL) for m in ("base", "kd")]
    comparison = compare(runs, "base")
    assert "NLL on the test split, mean" in caption(comparison)
    assert "gain over base" in caption(comparison)
    assert axes_and_names(predictor_curves(runs[0])).startswith("NLL over the epochs")


def test_files_name_the_metric(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    lines = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert float(lines[1]["last_miou_mean"]) == 63.0
    found = json.loads(to_json(comparison))
    assert found["metric"] == MIOU._asdict()
    assert found["entries"][0]["readouts"][0]["miou"]["mean"] == 61.0
    readouts = list(csv.DictReader(io.StringIO(comparison_files(comparison, runs)["readouts.csv"])))
    assert float(readouts[0]["miou_mean"]) == 61.0


def test_the_highest_value_of_a_sweep_is_best(make_run: MakeRun) -> None:
    runs = [make_run(f"{w}", options={"weight": w}, last=50 + w, headline=MIOU) for w in (1.0, 2.0)]
    sweep = gather("kd", "weight", {run.config["weight"]: [Trial.of(run)] for run in runs}, {}, runs)
    assert sweep.best == ("2",)
    assert [line["test mean IoU"] for line in table_rows(sweep)] == ["51.00", "52.00"]
    files = sweep_files(sweep, runs)
    assert "test_miou" in files["sweep.csv"]
    assert "Mean IoU at the last epoch, percent" in files["sweep.md"]
    assert "test mean IoU, percent" in axes_and_names(files["sweep.svg"])
    val_only = [make_run(f"v{w}", options={"weight": w}, test=False, headline=MIOU) for w in (1.0, 2.0)]
    sweep = gather("kd", "weight", {1.0: [Trial.of(val_only[0])]}, {}, val_only)
    assert "the highest mean IoU is on the images that chose it" in sweep.notes[0]


def test_tables_of_the_terminal(make_run: MakeRun) -> None:
    run = make_run(headline=MIOU, last=61.5)
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(result_table(run.outcome, run.headline))
    console.print(measures_table("run", {"miou": 61.5, "images": 7}, ["a"], run.headline))
    text = console.export_text()
    assert "mIoU % (size of the network)" in text
    assert "61.50" in text
    assert "61.500" in text
    assert "top-1" not in text


def test_runs_of_two_metrics_are_not_compared(make_run: MakeRun) -> None:
    runs = [make_run("a", method="base"), make_run("b", method="kd", headline=MIOU)]
    for refused in (
        lambda: compare(runs, "base"),
        lambda: metric_curves(runs, "val"),
        lambda: gather("kd", "weight", {1.0: [Trial.of(run) for run in runs]}, {}, runs),
    ):
        with pytest.raises(ValueError, match=r"top-1 error \(top1_error, .*/a\), mean IoU \(miou, .*/b\)"):
            refused()


def test_measures_of_segmentation_have_headings_in_one_order() -> None:
    measured = {"pixel_accuracy": 88.0, "images": 7, "miou": 61.0, "miou_original": 60.0, "class_iou": [1.0]}
    headings = {
        "miou": "mIoU, %",
        "miou_original": "mIoU original size, %",
        "pixel_accuracy": "pixel accuracy, %",
    }
    found = known_columns(measured, OURS)
    assert list(found.items()) == list(headings.items())


def test_each_class_has_its_iou(make_run: MakeRun) -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    measured = {"miou": 61.5, "images": 7, "class_iou": [70.0, None]}
    console.print(measures_table("run", measured, ["sky", "car"], OURS))
    lines = [" ".join(line.replace("│", " ").split()) for line in console.export_text().splitlines()]
    assert "IoU % of sky 70.00" in lines
    assert "IoU % of car does not occur" in lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [("mIoU on the split", "mIoU on the split"), ("top-1 error", "Top-1 error"), ("", ""), ("NLL", "NLL")],
)
def test_a_sentence_begins_with_a_capital_letter_or_with_a_name(text: str, expected: str) -> None:
    assert sentence(text) == expected


TEACHER = {"model": "t", "folder": "f", "epochs": 3, "train_seconds": 60.0, "parameters": 5, "split": "test"}


@pytest.mark.parametrize(
    ("metric", "key", "said"),
    [(OURS, "miou", "test mIoU 61.50 %"), (TOP1_ERROR, "error", "test top-1 error 61.50 %")],
)
def test_a_teacher_is_measured_by_the_metric_of_its_students(
    metric: Metric, key: str, said: str, make_run: MakeRun
) -> None:
    teacher = {**TEACHER, key: 61.5}
    runs = [make_run(m, method=m, headline=metric, teachers=[teacher]) for m in ("base", "kd")]
    comparison = compare(runs, "base")
    (line,) = teacher_lines(comparison.teachers, metric)
    assert said in line
    assert "61.50 (test)" in teacher_rows(comparison.teachers, metric)[0].values()
    (told,) = json.loads(to_json(comparison))["teachers"]
    assert told == {**teacher, "taught": ["base", "kd"]}


def test_files_of_segmentation_have_no_top5(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    files = comparison_files(comparison, runs)
    assert not any("top5" in text or "top1" in text for text in files.values())


def test_folders_of_before_mean_top1_error(make_run: MakeRun) -> None:
    assert make_run().headline == TOP1_ERROR
