"""Nothing in a figure overlaps or is cut, however long the names and however many the phases."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
from run_folders import MakeRun

from cohobate.report.figures import chart as module
from cohobate.report.figures.chart import Chart, our_style
from cohobate.report.figures.curves import metric_curves
from cohobate.report.figures.lettering import inches, shortened, wrapped
from cohobate.report.figures.losses import loss_curves

SVG = "{http://www.w3.org/2000/svg}"
LONG = "frskd alpha=2.5 beta=100.0 temperature=4.0 widths=64,128,256 pyramid=bifpn repeats=2 attention=on"


def test_width_grows_with_text_and_size() -> None:
    assert inches("", 10) == 0
    assert 0 < inches("iii", 10) < inches("mmm", 10)
    assert inches("abc", 20) == pytest.approx(2 * inches("abc", 10), rel=0.05)
    assert inches("abc", 10, "bold") > inches("abc", 10)


@pytest.mark.parametrize("width", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("text", [LONG, "path/to/a/file_of_mine.py:MyMethod" * 3, "a", "a  b"])
def test_text_is_broken_to_fit_and_none_is_lost(text: str, width: float) -> None:
    lines = wrapped(text, 9.5, width)
    assert all(inches(line, 9.5) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_text_is_shortened_only_where_it_must_be() -> None:
    assert shortened("cat", 8, 1.0) == "cat"
    short = shortened("a dog with a long name", 8, 0.6)
    assert short.endswith("…")
    assert inches(short, 8) <= 0.6


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_long_names_stand_whole_in_the_legend(make_run: MakeRun) -> None:
    runs = [make_run(f"{i}", method=f"m{i}", label=f"{LONG} seed={i}", last=10 + i) for i in range(3)]
    drawn = " ".join(texts(metric_curves(runs, "val")))
    for i in range(3):
        assert f"{LONG} seed={i}" in drawn


@pytest.mark.parametrize(
    "names", [["ce"], ["ce", "kl", "at"], [LONG] * 4, [f"method {i}" for i in range(15)]]
)
def test_the_legend_is_inside_and_below(names: list[str]) -> None:
    with our_style("test"):
        chart = Chart("loss")
        for i, name in enumerate(names):
            chart.line({1: i, 2: i + 1}, name, "#000000")
        chart.svg("title")
        chart.figure.draw_without_rendering()
        (legend,) = chart.figure.legends
        box = legend.get_window_extent(chart.renderer)
        axes = chart.axes.get_tightbbox(chart.renderer)
    width, height = chart.figure.bbox.size
    assert axes is not None
    assert box.x0 >= 0
    assert box.x1 <= width
    assert box.y0 >= 0
    assert box.y1 <= axes.y0 + 1
    assert axes.y1 <= height + 1
    # The axes keep their size, however much stands below.
    assert chart.axes.get_window_extent().height > 0.7 * module.HEIGHT * chart.figure.dpi


def test_names_of_phases_never_overlap() -> None:
    with our_style("test"):
        chart = Chart("loss")
        chart.line({epoch: epoch for epoch in range(1, 31)}, "ce", "#000000")
        for i in range(10):
            chart.rule(3 * i + 0.5, f"residual network {i}")
        chart.svg("title")
        chart.figure.draw_without_rendering()
        boxes = [label.get_window_extent(chart.renderer) for label in chart.rules]
    width, height = chart.figure.bbox.size
    assert len(boxes) == 10
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.x1 <= width + 1 and box.y1 <= height + 1 for box in boxes)


def test_a_figure_has_a_title_and_stands_beside_others(make_run: MakeRun) -> None:
    svg = loss_curves(make_run(phases=("teacher", "student")))
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == "Loss terms over the epochs"
    assert svg.startswith("<svg")
    assert list(root.iter(f"{SVG}metadata")) == []
    assert not any(group.get("id") for group in root.iter(f"{SVG}g"))
