"""One epoch, one image, one seed: in words, and in figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.dom.minidom import parseString

import pytest
from run_folders import MakeRun

import cohobate
from cohobate.cli import main
from cohobate.report.figures.chart import PALETTE, Chart
from cohobate.report.figures.curves import metric_curves, predictor_curves
from cohobate.report.figures.losses import loss_curves
from cohobate.report.files import comparison_files, run_files
from cohobate.report.tables.comparison import compare
from cohobate.report.tables.table import caption

ONE = re.compile(
    r"(?<![\d.,])1 (epochs|images|seeds|runs|methods|values|training images|classes|minutes|pairs)\b"
)


# ---------------------------------------------------------------- words


def test_one_is_not_many(make_run: MakeRun) -> None:
    runs = [make_run(epochs=1, train_images=1)]
    comparison = compare(runs, "supervised")
    assert caption(comparison).startswith(
        "cifar10, resnet20, 1 epoch of batch size 128, seed 0, 1 training image. "
    )
    pages = [*comparison_files(comparison, runs).values(), *run_files(runs[0]).values()]
    assert [found for page in pages for found in ONE.findall(re.sub(r"<[^>]+>", "", page))] == []


def test_two_are(make_run: MakeRun) -> None:
    runs = [make_run(str(seed), seed=seed, epochs=2, train_images=1280) for seed in (0, 1)]
    assert caption(compare(runs, "supervised")).startswith(
        "cifar10, resnet20, 2 epochs of batch size 128, seeds 0, 1, 1,280 training images. "
    )


def test_missing_seeds(make_run: MakeRun) -> None:
    base = [make_run(f"b{seed}", seed=seed, label="base") for seed in (0, 1, 2)]
    notes = compare([*base, make_run("k", seed=2, label="kd")], "base").notes
    assert "kd has no finished run of seeds 0, 1." in notes


def test_one_epoch_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = [
        "--epochs",
        "1",
        "--train-images",
        "100",
        "--batch-size",
        "50",
        "--device",
        "cpu",
        "--seeds",
        "0",
    ]
    main(["compare", "kd", "--teacher", "resnet8", *quick])
    main(["sweep", "baseline", "--lr", "0.1,0.2", *quick])
    printed = capsys.readouterr()
    said = re.sub(r"\s+", " ", printed.out + printed.err)
    assert ", 1 epoch," in said
    assert ONE.findall(said) == []


def test_no_message_counts_by_hand() -> None:
    """``{n} epochs`` is wrong for one: :func:`cohobate.config.words.count` knows."""
    nouns = "epochs|seeds|runs|methods|minutes"
    by_hand = re.compile(rf"\{{[^{{}}]*\}} ({nouns})\b")
    root = Path(cohobate.__file__).parent
    for path in (path for room in ("commands", "report", "runs") for path in (root / room).rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := by_hand.search(line):
                assert 'f"none of the' in line, f"{path.name}, line {number}: {found[0]}"


# ---------------------------------------------------------------- figures


def ticks_of(svg: str) -> list[str]:
    """The labels of the epochs."""
    texts = [
        text.firstChild.data for text in parseString(svg).getElementsByTagName("text") if text.firstChild
    ]
    return texts[: texts.index("epoch")]


@pytest.mark.parametrize("figure", [predictor_curves, loss_curves, lambda run: metric_curves([run], "val")])
def test_the_ticks_of_one_epoch_are_whole(figure: Any, make_run: MakeRun) -> None:
    ticks = ticks_of(figure(make_run(epochs=1)))
    assert ticks == ["1"]


def test_points_between_gaps_are_marked() -> None:
    chart = Chart("y")
    nan = float("nan")
    chart.line({1: 2.0, 1.5: nan, 2: 3.0, 3: 4.0, 3.5: nan, 4: 5.0}, "a", "red")
    (line,) = chart.axes.get_lines()
    assert line.get_marker() == "o"
    assert line.get_markevery() == [0, 5]
    chart.line({1: 2.0, 2: 3.0, 2.5: nan, 3: 1.0, 4: 1.0}, "b", "red")
    assert chart.axes.get_lines()[1].get_marker() in ("", "None")
    chart.bundle([{1: 1.0}, {1: 2.0}], "c", "red")
    assert all(each.get_markevery() == [0] for each in chart.axes.get_lines()[2:])


def test_a_phase_of_one_epoch_is_seen_in_the_loss_curves(make_run: MakeRun) -> None:
    """A curve with gaps around its points is a path that only moves: what is seen are its markers."""
    one, several = (make_run(str(n), epochs=n, phases=("hint", "student")) for n in (1, 3))
    markers = rf"<use[^>]*{PALETTE[0].lower()}"
    # Two points and the sample in the legend.
    assert len(re.findall(markers, loss_curves(one))) == 3
    assert re.findall(markers, loss_curves(several)) == []
