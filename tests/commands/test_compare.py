"""A comparison as a person runs it: what is trained, what is said of a run that diverges."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from cohobate.cli import main

QUICK = ["--epochs", "1", "--train-images", "150", "--batch-size", "50", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# ---------------------------------------------------------------- a run that diverges

WILD = "self_guidance:weight=1e38"


def test_a_method_that_diverges_has_a_row_and_the_rest_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "baseline", WILD, "stochastic_depth", "--seeds", "0,1", "--out", "c"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *QUICK])
    assert stop.value.code == "2 of 6 runs diverged"
    printed = capsys.readouterr().out
    assert "(2 diverged)" in printed
    said = spaced(printed)
    for seed in (0, 1):
        assert f"self_guidance weight=1e+38, seed {seed}, diverged: the loss term" in said
    assert "has no finished run" not in said
    for method in ("baseline", "stochastic_depth"):
        assert all(Path(f"c/{method}/seed-{seed}/result.json").exists() for seed in (0, 1))
    rows = {row["label"]: row for row in csv.DictReader(Path("c/table.csv").read_text().splitlines())}
    assert [(row["n"], row["diverged"]) for row in rows.values()] == [("2", "0"), ("2", "0"), ("0", "2")]
    assert rows["self_guidance weight=1e+38"]["last_error_mean"] == ""
    found = json.loads(Path("c/table.json").read_text())
    assert found["diverged"]["self_guidance weight=1e+38"].keys() == {"0", "1"}
    assert "| self_guidance weight=1e+38 | 0 (2 diverged) | — |" in Path("c/table.md").read_text()
    page = Path("c/index.html").read_text()
    assert "3 methods" in page
    assert "0 (2 diverged)" in page


def test_a_baseline_that_diverges_leaves_no_gain(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", WILD, "stochastic_depth", "--seeds", "0", "--out", "c", *QUICK])
    said = spaced(capsys.readouterr().out)
    assert "self_guidance weight=1e+38 has no finished run, so there is no gain and no time ratio." in said
    (entry,) = json.loads(Path("c/table.json").read_text())["entries"]
    assert (entry["label"], entry["gain"], entry["train_ratio"]) == ("stochastic_depth", None, None)


def test_where_every_run_diverges_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["compare", WILD, "--seeds", "0", "--out", "c", *QUICK])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert re.search(r"error: every run diverged, so .*; of the first: the loss term '\w+' of phase", said)
    assert not Path("c/table.md").exists()
