from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folders import MakeRun

from cohobate.core.metrics import TOP1_ERROR, Metric
from cohobate.runs.finding import find_runs
from cohobate.runs.reading import read_run, shared_headline


def test_a_finished_run_is_read_whole(make_run: MakeRun) -> None:
    run = make_run(method="kd", label="kd weight=2", options={"weight": 2}, seed=3, epochs=4)
    assert (run.name, run.group, run.method) == ("kd weight=2", "kd weight=2", "kd")
    assert run.config["weight"] == 2
    assert run.outcome["seed"] == 3
    assert run.predictor == "network"
    assert list(run.curve("val", "network")) == [1, 2, 3, 4]
    assert run.curve("test", "network") == {}
    assert run.curve("val", "nobody") == {}


def test_an_unfinished_run_stands_alone(make_run: MakeRun) -> None:
    run, other = (make_run(name, finished=False, seed=1) for name in ("a", "b"))
    assert run.name == other.name == "supervised, seed 1 (unfinished)"
    assert run.group != other.group
    assert run.predictor == "network"
    with pytest.raises(ValueError, match=r"runs/a has not finished"):
        _ = run.outcome


def test_curves_are_of_the_last_phase(make_run: MakeRun) -> None:
    run = make_run(phases=("teacher", "student"), epochs=3)
    assert run.phases == ["teacher", "student"]
    assert len(run.metrics) == 6
    assert list(run.curve("val", "network")) == [1, 2, 3]


def test_nested_provenance_is_spread_out(make_run: MakeRun) -> None:
    run = make_run(provenance={"environment": {"threads": 7}})
    assert (run.circumstances["machine"], run.circumstances["threads"]) == ("box", 7)
    assert "environment" not in run.circumstances


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("method: kd\n")
    run = read_run(tmp_path)
    assert (run.metrics, run.result, run.provenance) == ([], None, {})
    assert run.predictor is None
    assert run.name == "kd, seed unknown (unfinished)"


def test_a_cut_last_line_is_the_end(make_run: MakeRun) -> None:
    folder = make_run(epochs=3).folder
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write('{"phase": "é'.encode()[:-1])
    assert len(read_run(folder).metrics) == 3


def test_a_broken_line_before_the_last_is_an_error(make_run: MakeRun) -> None:
    folder = make_run(epochs=3).folder
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([lines[0], lines[1][:20], lines[2]]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is not JSON"):
        read_run(folder)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.yaml", "- a\n- b", r"run\.yaml must hold a mapping, got list"),
        ("run.yaml", "a: [", r"run\.yaml is not YAML"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch": 2}', r"metrics\.jsonl, line 1 lacks phase"),
        ("metrics.jsonl", "3\n", r"metrics\.jsonl, line 1 must hold a mapping, got int"),
        ("provenance.json", "{", r"provenance\.json is not JSON"),
        (
            "provenance.json",
            '{"headline": "miou"}',
            r"headline of .*provenance\.json must hold a mapping, got str",
        ),
        (
            "provenance.json",
            '{"headline": {"name": "miou"}}',
            r"provenance\.json lacks title, unit, lower_is_better",
        ),
        ("result.json", "[]", r"result\.json must hold a mapping, got list"),
        ("result.json", json.dumps({"method": "kd"}), r"result\.json lacks label, options, seed"),
    ],
)
def test_files_that_the_engine_cannot_have_written(
    make_run: MakeRun, file: str, text: str, message: str
) -> None:
    folder = make_run().folder
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_run(folder)


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no run\.yaml"):
        read_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_run(tmp_path / "nowhere")


def test_runs_are_found_below_a_folder(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [make_run(name).folder for name in ("kd/seed1", "base/seed0", "kd/seed0")]
    (tmp_path / "runs" / "notes").mkdir()
    assert find_runs(tmp_path) == sorted(folders)
    assert find_runs(folders[0]) == [folders[0]]
    with pytest.raises(FileNotFoundError, match=r"notes is not the folder of a run: it has no run\.yaml"):
        find_runs(tmp_path / "runs" / "notes")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_runs(tmp_path / "nowhere")


def test_the_headline_metric_is_recorded(make_run: MakeRun) -> None:
    miou = Metric("miou", "mean IoU", "%", lower_is_better=False)
    old, new = make_run("old"), make_run("new", headline=miou)
    assert (old.headline, new.headline) == (TOP1_ERROR, miou)
    assert list(new.curve("val", "network")) == [1, 2, 3, 4]
    assert (shared_headline([]), shared_headline([new, new])) == (TOP1_ERROR, miou)
    with pytest.raises(ValueError, match=r"top-1 error \(top1_error, .*old\), mean IoU \(miou, .*new\)"):
        shared_headline([old, new])
