from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from run_folders import MakeRun

from cohobate.report.figures.chart import colours, rounds
from cohobate.report.figures.curves import metric_curves, predictor_curves
from cohobate.report.figures.losses import loss_curves
from cohobate.report.files import comparison_files, run_files
from cohobate.report.tables.comparison import Comparison, compare
from cohobate.runs.reading import Run, read_run

VOID = {"meta", "br", "hr", "img", "link", "input"}
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Page(HTMLParser):
    """Checks that tags are balanced; keeps text, attributes and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        self.ids += [value or "" for key, value in attrs if key == "id"]


def check(text: str) -> Page:
    """Well formed, self-contained, no id twice."""
    page = Page(text)
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= NAMESPACES
    assert not re.search(r"@import|url\((?!#)", text)
    shown = ("#", "data:image/png;base64,", "data:image/jpeg;base64,")
    assert all(value.startswith(shown) for key, value in page.attributes if key in ("href", "xlink:href"))
    assert len(page.ids) == len(set(page.ids))
    return page


def comparison_page(comparison: Comparison, runs: list[Run]) -> str:
    return comparison_files(comparison, runs)["index.html"]


def run_page(run: Run) -> str:
    return run_files(run)["report.html"]


@pytest.fixture
def runs(make_run: MakeRun) -> list[Run]:
    return [
        *(make_run(f"base/{s}", method="base", seed=s, last=10 + s / 10, log_test=True) for s in (0, 1, 2)),
        *(make_run(f"kd/{s}", method="kd", seed=s, last=8 + s / 9, options={"tau": 4.0}) for s in (0, 1, 2)),
        make_run("sg/0", method="sg", seed=0, last=9.9),
        make_run("sg/1", method="sg", seed=1, finished=False),
    ]


def test_a_comparison_on_one_page(runs: list[Run]) -> None:
    page = check(comparison_page(compare(runs, "base"), runs))
    assert page.text.strip().startswith("cohobate: resnet20 on cifar10")
    assert page.tags.count("svg") == 4  # val and test, each whole and enlarged
    for expected in (
        "Every seed",
        "cohobate train base --seed 0",
        "batch_size",
        "commit",
        "sg, seed 1 (unfinished)",
    ):
        assert expected in page.text


def test_only_a_gain_whose_interval_excludes_zero_is_marked(runs: list[Run]) -> None:
    text = comparison_page(compare(runs, "base"), runs)
    (marked,) = re.findall(r'<mark class="(\w+)">([^<]*)</mark>', text)
    assert marked[0] == "better"
    assert marked[1].startswith("+1.99")
    text = comparison_page(compare(runs, "kd"), runs)
    assert re.findall(r'<mark class="(\w+)">', text) == ["worse"]


def test_every_text_is_escaped(make_run: MakeRun) -> None:
    evil = '<script>alert("1")</script> & $x_$'
    settings = {
        "method": evil,
        "label": evil,
        "data": evil,
        "config": {evil: evil},
        "provenance": {evil: evil},
    }
    runs = [make_run("a", **settings), make_run("b", **settings, seed=1, phases=(evil, evil + "2"))]
    for text in (comparison_page(compare(runs, evil), runs), run_page(runs[1])):
        page = check(text)
        assert page.text.count(evil) > 5


def test_the_page_of_a_run(make_run: MakeRun) -> None:
    page = check(run_page(make_run(method="kd", phases=("teacher", "student"), log_test=True)))
    assert page.tags.count("svg") >= 2
    for expected in (
        "test, last epoch (4), network",
        "269,722",
        "40,551,808",
        "teacher",
        "Deployed: network.",
    ):
        assert expected in page.text


def test_the_page_of_an_unfinished_run(make_run: MakeRun, tmp_path: Path) -> None:
    page = check(run_page(make_run(finished=False, epochs=2)))
    assert page.tags.count("svg") >= 2
    assert "This run has not finished: 2 epochs, seed 0." in page.text
    (tmp_path / "run.yaml").write_text("method: kd\n")
    page = check(run_page(read_run(tmp_path)))
    assert page.tags.count("svg") == 0
    assert "no epoch is over yet" in page.text


def test_the_same_numbers_give_the_same_bytes(runs: list[Run]) -> None:
    assert metric_curves(runs, "val") == metric_curves(runs, "val")
    assert comparison_page(compare(runs, "base"), runs) == comparison_page(compare(runs, "base"), runs)


def test_plots_leave_matplotlib_as_it_was(runs: list[Run]) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "black", "svg.fonttype": "path"}):
        themed = metric_curves(runs, "val")
    assert themed == metric_curves(runs, "val")
    assert dict(matplotlib.rcParams) == before


def test_importing_the_room_is_cheap() -> None:
    heavy = "{'matplotlib', 'scipy', 'numpy', 'rich', 'torch'}"
    code = f"import sys, cohobate.report.files; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_curve_is_drawn_for_every_seed_and_the_mean(runs: list[Run]) -> None:
    svg = ElementTree.fromstring(metric_curves(runs, "val"))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "base, mean of 3" in texts
    assert "sg" in texts  # one seed: no mean to speak of
    strokes = re.findall(r"stroke: (#0072b2)", metric_curves(runs[:3], "val"))
    assert len(strokes) == 3 + 1 + 1  # seeds, mean, legend


def test_no_two_methods_look_alike(make_run: MakeRun) -> None:
    runs = [make_run(f"m{i}", method=f"m{i}") for i in range(9)]
    looks = {(colours(runs)[group], rounds(runs)[group]) for group in colours(runs)}
    assert len(looks) == 9
    drawn = metric_curves(runs, "val")
    # Two of nine begin the palette anew: their lines, and their keys in the legend.
    assert len(re.findall(r"stroke-dasharray", drawn)) == 2 + 2


def test_the_mean_stops_where_a_seed_stops(make_run: MakeRun) -> None:
    runs = [make_run("a", epochs=4), make_run("b", epochs=4, seed=1)]
    lines = (runs[1].folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (runs[1].folder / "metrics.jsonl").write_text("".join(lines[:2]))
    svg = metric_curves([runs[0], read_run(runs[1].folder)], "val")
    paths = re.findall(r'<path d="([^"]*)"[^>]*stroke: #0072b2', svg)
    assert [path.count("L") + 1 for path in paths[:3]] == [4, 2, 2]  # two seeds, mean


def test_what_was_not_logged_cannot_be_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(ValueError, match="none of the 1 runs logged its top-1 error on the test split"):
        metric_curves([run], "test")
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        metric_curves([run], "dev")
    with pytest.raises(ValueError, match=r"got 1\.0"):
        metric_curves([run], "val", since=1.0)
    (tmp_path / "run.yaml").write_text("method: kd\n")
    with pytest.raises(ValueError, match="has logged no top-1 error yet"):
        predictor_curves(read_run(tmp_path))
    with pytest.raises(ValueError, match="has logged no loss yet"):
        loss_curves(read_run(tmp_path))


def test_files_of_a_comparison_and_of_a_run(runs: list[Run]) -> None:
    files = comparison_files(compare(runs, "base"), runs)
    curves = ["curves-val.svg", "curves-test.svg"]
    tables = ["table.md", "table.csv", "table.json", "readouts.csv"]
    assert list(files) == [*tables, *curves, "index.html"]
    assert len(json.loads(files["table.json"])["entries"]) == 3
    assert ElementTree.fromstring(files["curves-val.svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert list(run_files(runs[0])) == ["report.html"]
