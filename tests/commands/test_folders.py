"""Folders that are given to ``evaluate``, ``attention``, ``report`` and ``--config``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from zoo import toy, toy_data

import cohobate
from cohobate.cli import main

QUICK = ["--epochs", "1", "--train-images", "100", "--batch-size", "50", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert sorted(Path().rglob("*")) == before
    return capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "attention", "report"])
def test_a_folder_that_is_none_of_a_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "error: the folder nowhere does not exist" in refused(capsys, command, "nowhere")
    Path("empty/inner").mkdir(parents=True)
    assert "empty is not the folder of a run: it has no run.yaml" in refused(capsys, command, "empty")
    Path("file").touch()
    assert "file is a file; name the folder of a run" in refused(capsys, command, "file")


def test_the_folder_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", "baseline", "--seeds", "0,1", "--out", "c", *QUICK])
    for command in ("evaluate", "attention"):
        said = refused(capsys, command, "c")
        assert "c has no run.yaml: it holds 2 runs; name one of them: c/baseline/seed-0, c/b" in said


def test_a_run_that_has_not_finished(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "baseline", *QUICK, "--max-minutes", "1e-6", "--out", "run"])
    assert stop.value.code == 75
    said = refused(capsys, "evaluate", "run")
    assert re.search(r"run has not finished: 0 epochs so far; run `.*` again, and it goes on", said)


def test_a_run_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    cohobate.fit(
        cohobate.Supervised(toy()), toy_data(80), "run", epochs=1, batch_size=16, device="cpu", quiet=True
    )
    said = refused(capsys, "evaluate", "run")
    assert "run was trained from Python (cohobate.fit with Supervised)" in said
    assert "cohobate.load_weights(network, 'run/deployed.safetensors')" in said
    for command in ("train", "sweep"):
        said = refused(capsys, command, "--config", "run/run.yaml")
        assert "run/run.yaml is of a run from Python (cohobate.fit with Supervised)" in said
        assert f"cohobate {command} METHOD --config run/run.yaml" in said


# ---------------------------------------------------------------- report


def test_a_report_leaves_the_page_of_the_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", "stochastic_depth", "self_guidance", "baseline", "--seeds", "0", "--out", "c", *QUICK])
    page = Path("c/index.html").read_bytes()
    labels = [entry["label"] for entry in json.loads(Path("c/table.json").read_text())["entries"]]
    assert labels == ["baseline", "stochastic_depth", "self_guidance"]
    capsys.readouterr()
    main(["report", "c"])
    assert "c/report/index.html" in capsys.readouterr().out
    table = json.loads(Path("c/report/table.json").read_text())
    assert [entry["label"] for entry in table["entries"]] == labels
    main(["report", "c/self_guidance", "c/stochastic_depth"])
    table = json.loads(Path("c/report/table.json").read_text())
    assert [entry["label"] for entry in table["entries"]] == ["self_guidance", "stochastic_depth"]
    assert Path("c/index.html").read_bytes() == page


def test_without_a_table_runs_stand_in_the_order_in_which_they_were_begun() -> None:
    for number, method in enumerate(("stochastic_depth", "self_guidance")):
        main(["train", method, *QUICK, "--out", f"r/{method}"])
        file = Path(f"r/{method}/provenance.json")
        made = json.loads(file.read_text())
        file.write_text(json.dumps(made | {"started": f"2026-01-0{number + 1}T00:00:00+00:00"}))
    main(["report", "r"])
    table = json.loads(Path("r/report/table.json").read_text())
    assert [entry["label"] for entry in table["entries"]] == ["stochastic_depth", "self_guidance"]


def test_a_table_of_another_form_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "r/a"])
    shutil.copytree("r/a", "r/b")
    Path("r/table.json").write_text("[]")
    assert "r/table.json is not the table of a comparison" in refused(capsys, "report", "r")


def test_a_baseline_for_one_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "run"])
    assert "--baseline has no effect with one run" in refused(capsys, "report", "run", "--baseline", "x")
