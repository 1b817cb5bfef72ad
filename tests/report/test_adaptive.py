"""Sample-adaptive inference on a run's page: the table, accuracy against cost, cost saved over thresholds."""

from __future__ import annotations

import json
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from run_folders import MakeRun

from cohobate.report.figures.adaptive import cost_saved, figures, trade_off
from cohobate.report.files import run_files
from cohobate.report.tables.adaptive import adaptive_notes, adaptive_rows
from cohobate.runs.adaptive import Adaptive, read_adaptive, write_adaptive
from cohobate.runs.reading import Run, read_run

from .test_pages import check

SVG = "{http://www.w3.org/2000/svg}"
MACS = {"S_0": 40_000_000, "R_1": 30_000_000, "R_2": 10_000_000, "teacher": 250_000_000}


def point(threshold: float, accuracy: float, exits: tuple[float, ...]) -> dict[str, Any]:
    costs = (40e6, 70e6, 80e6)
    macs = sum(share * spent for share, spent in zip(exits, costs, strict=True))
    return {"threshold": threshold, "accuracy": accuracy, "macs": macs, "exits": exits}


CURVE = [
    point(0.0, 90.0, (1.0, 0.0, 0.0)),
    point(0.5, 91.0, (0.75, 0.25, 0.0)),
    point(0.9, 92.0, (0.5, 0.25, 0.25)),
    point(math.inf, 92.5, (0.0, 0.0, 1.0)),
]


def row(name: str, accuracy: float, macs: float, exits: tuple[float, ...] = ()) -> dict[str, Any]:
    shares = {"percent_of_sum": macs / 8e5, "percent_of_teacher": macs / 2.5e6}
    return {
        "name": name,
        "accuracy": accuracy,
        "error": 100 - accuracy,
        "macs": macs,
        "milliseconds": macs / 1e8,
        "exits": exits,
        **shares,
    }


def adaptive(**changed: Any) -> Adaptive:
    """Three networks and a teacher; the threshold 0.9 was chosen."""
    chosen = CURVE[2]
    facts: dict[str, Any] = {
        "weights": "last",
        "data": "cifar10",
        "split": "test",
        "images": 10_000,
        "threshold": 0.9,
        "rule": "given by --threshold",
        "energy": "sum",
        "chosen_on": {"split": "train", "images": 4500, "trained_on": True},
        "networks": [
            {"name": name, "model": model, "parameters": 1000, "macs": macs}
            for (name, macs), model in zip(
                MACS.items(), ("resnet20", "resnet14", "resnet8", "resnet110"), strict=True
            )
        ],
        "no_teacher": "",
        "rows": [
            row("S_0", 90.0, 40e6),
            row("S_1", 91.5, 70e6),
            row("S_2", 92.5, 80e6),
            row("adaptive", 92.0, chosen["macs"], chosen["exits"]),
            row("teacher", 94.0, 250e6),
        ],
        "timing": {
            "device": "cpu",
            "threads": 2,
            "precision": "fp32",
            "images": 512,
            "batch_size": 128,
            "rounds": 7,
        },
        "on_chosen": point(0.9, 99.0, (0.75, 0.25, 0.0)),
        "curve_chosen": [each | {"accuracy": 99.0} for each in CURVE],
        "curve_measured": CURVE,
        "moved": 0,
        "same_images": False,
    }
    return Adaptive.model_validate(facts | changed)


def without_teacher(**changed: Any) -> Adaptive:
    whole = adaptive().model_dump()
    rows = [each | {"percent_of_teacher": None} for each in whole["rows"][:-1]]
    return adaptive(
        rows=rows, networks=whole["networks"][:-1], no_teacher="The run has no teacher.", **changed
    )


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run(method="reskd")


def lines(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """Points of the lines of a colour, in the units of the drawing."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        style = path.get("style", "")
        if f"stroke: {colour.lower()}" in style.lower() and "stroke-width: 1.9" in style:
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d", ""))]
            found.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return found


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("threshold", [0.0, 0.25, math.inf])
def test_what_is_written_is_read(run: Run, threshold: float) -> None:
    assert read_adaptive(run.folder) is None
    written = adaptive(threshold=threshold)
    path = write_adaptive(run.folder, written)
    assert read_adaptive(run.folder) == written == read_run(run.folder).adaptive
    recorded = json.loads(path.read_text())
    assert recorded["threshold"] == ("never" if threshold == math.inf else threshold)
    assert recorded["curve_measured"][-1]["threshold"] == "never"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weights": "last"}'])
def test_a_damaged_file_is_named(run: Run, text: str) -> None:
    (run.folder / "adaptive.json").write_text(text)
    with pytest.raises(ValueError, match=r"adaptive\.json is not what `cohobate evaluate --adaptive` writes"):
        read_run(run.folder)


# ---------------------------------------------------------------- the table


def test_the_rows_of_the_table() -> None:
    rows = adaptive_rows(adaptive())
    exits = "leave after S_0 / S_1 / S_2, %"
    assert [each["network"] for each in rows] == [
        "S_0",
        "S_1",
        "S_2, full sum",
        "adaptive",
        "teacher",
    ]
    assert rows[3] == {
        "network": "adaptive",
        "accuracy, %": "92.00",
        "error, %": "8.00",
        "MACs": "57.50 M",
        "% of sum": "71.9",
        "% of teacher": "23.0",
        "ms": "0.575",
        exits: "50.0 / 25.0 / 25.0",
    }
    assert {each[exits] for each in rows if each["network"] != "adaptive"} == {"—"}
    assert {each["% of teacher"] for each in adaptive_rows(without_teacher())} == {"—"}


def test_the_notes_say_what_the_table_cannot() -> None:
    said = " ".join(adaptive_notes(adaptive()))
    assert "resnet20 (S_0) + resnet14 (R_1) + resnet8 (R_2)" in said
    assert "Threshold 0.9: given by --threshold. An image leaves once the energy of the summed logits" in said
    assert "4,500 training images, which the networks were trained on, so that the accuracy there is" in said
    assert "an accuracy of 99.00 % at 47.50 M MACs an image" in said
    assert "cpu, 2 threads, fp32, in batches of 128; median of 7 rounds over 512 images" in said
    assert "rounds otherwise" not in said
    assert "among the images measured" not in said
    held_out = {"split": "val", "images": 1, "trained_on": False}
    other = " ".join(
        adaptive_notes(
            without_teacher(chosen_on=held_out, moved=1, same_images=True, energy="added", threshold=math.inf)
        )
    )
    assert "D_v: 1 validation image, held out" in other
    assert "Threshold never" in other
    assert "the sum of the energies of the networks" in other
    assert "1 image left elsewhere" in other
    assert "D_v is among the images measured here" in other
    assert "The run has no teacher." in other
    gone = " ".join(adaptive_notes(adaptive(chosen_on=None, on_chosen=None, curve_chosen=[])))
    assert "there is no D_v" in gone


# ---------------------------------------------------------------- the figures


def test_accuracy_against_cost(run: Run) -> None:
    svg = trade_off(run, adaptive())
    said = texts(svg)
    for name in ("S_0 (resnet20)", "S_1", "S_2, full sum", "chosen", "teacher (resnet110)"):
        assert name in said
    for name in ("test images", "D_v, training images", "accuracy, percent"):
        assert name in said
    assert "million multiply-accumulates of an image, logarithmic" in said
    (curve,) = [line for line in lines(svg, "#0072B2") if len(line) == 4]
    xs, ys = zip(*curve, strict=True)
    assert list(xs) == sorted(xs)
    # Downwards in the drawing; evenly spaced but for the last half step.
    assert [ys[0] - y for y in ys[1:]] == pytest.approx([(ys[0] - ys[1]) * k for k in (1, 2, 2.5)])
    logs = [math.log(each["macs"]) for each in CURVE]
    shares = [(x - xs[0]) / (xs[-1] - xs[0]) for x in xs]
    assert shares == pytest.approx([(v - logs[0]) / (logs[-1] - logs[0]) for v in logs], abs=1e-4)


def test_the_axis_is_linear_without_a_teacher_far_off(run: Run) -> None:
    svg = trade_off(run, without_teacher(chosen_on=None, curve_chosen=[], on_chosen=None))
    said = texts(svg)
    assert "million multiply-accumulates of an image" in said
    assert not any("teacher" in text or "D_v" in text for text in said)
    (curve,) = [line for line in lines(svg, "#0072B2") if len(line) == 4]
    shares = [(x - curve[0][0]) / (curve[-1][0] - curve[0][0]) for x, _ in curve]
    assert shares == pytest.approx([(each["macs"] - 40e6) / 40e6 for each in CURVE], abs=1e-4)


def test_cost_saved_over_the_threshold(run: Run) -> None:
    """At the thresholds 0, 0.5, 0.9 and 1: all, 1 - 7.5 / 40, 1 - 17.5 / 40 and nothing."""
    svg = cost_saved(run, adaptive())
    assert "chosen, 0.9" in texts(svg)
    (curve,) = [line for line in lines(svg, "#0072B2") if len(line) == 4]
    xs = [(x - curve[0][0]) / (curve[-1][0] - curve[0][0]) for x, _ in curve]
    ys = [(y - curve[-1][1]) / (curve[0][1] - curve[-1][1]) for _, y in curve]
    assert xs == pytest.approx([0, 0.5, 0.9, 1], abs=1e-4)
    assert ys == pytest.approx([1, 1 - 7.5 / 40, 1 - 17.5 / 40, 0], abs=1e-4)
    # Added up, energies exceed 1, and what no threshold up to 1 reaches is left out.
    added = cost_saved(run, adaptive(energy="added", threshold=math.inf))
    assert not any("chosen" in text for text in texts(added))
    assert max(len(line) for line in lines(added, "#0072B2")) == 3


def test_names_of_marks_do_not_overlap(run: Run) -> None:
    """Every network as good and as dear as the next, almost; and a teacher with a long path."""
    rows = [row(f"S_{i}", 90 + 0.01 * i, 40e6 + 1e5 * i) for i in range(3)]
    rows += [row("adaptive", 90.01, 40.1e6, (1.0, 0.0, 0.0)), row("teacher", 90.02, 40.2e6)]
    networks = [dict(each) for each in adaptive().model_dump()["networks"]]
    networks[-1]["model"] = "runs/" + "a-very-long-name/" * 6
    svg = trade_off(run, adaptive(rows=rows, networks=networks))
    assert any(text.startswith("teacher (runs/a-very") and text.endswith("…") for text in texts(svg))
    places = [
        tuple(float(number) for number in re.findall(r"-?[\d.]+", node.get("transform") or "")[:2])
        or (float(node.get("x", 0)), float(node.get("y", 0)))
        for node in ElementTree.fromstring(svg).iter(f"{SVG}text")
        if "".join(node.itertext()).startswith(("S_", "chosen", "teacher"))
    ]
    assert len(set(places)) == 5


# ---------------------------------------------------------------- the page


def test_the_page_has_it_only_where_it_was_measured(run: Run) -> None:
    (before,) = run_files(run).values()
    assert "Sample-adaptive" not in before
    assert list(figures(run)) == []
    write_adaptive(run.folder, adaptive())
    (after,) = run_files(read_run(run.folder)).values()
    check(after)
    assert after.count("<svg") == before.count("<svg") + 2
    assert "cifar10, test split, last weights, 10,000 images" in after
    assert "50.0 / 25.0 / 25.0" in after
    assert "Share of the multiply-accumulates of the res-students" in after
    (again,) = run_files(read_run(run.folder)).values()
    assert again == after
