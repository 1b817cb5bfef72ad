"""A comparison as a person runs it: what is trained, what is said of a run that diverges."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from command_line import refused

import cohobate
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


def test_a_run_that_diverged_says_so_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "baseline", WILD, "--seeds", "0", "--out", "c", *QUICK])
    run = "c/self_guidance-weight=1e+38/seed-0"
    capsys.readouterr()
    main(["report", "c"])
    said = spaced(capsys.readouterr().out)
    assert f"hence not in the table: self_guidance, seed 0, in {run}, diverged: the loss term" in said
    main(["report", run])
    assert "it diverged: the loss term" in Path(run, "report.html").read_text()
    for command in (["evaluate", run], ["train", "kd", "--teacher", run, *QUICK]):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(command)
        assert f"{run} has diverged: the loss term" in spaced(capsys.readouterr().err)
    # Trained again, with other options, it is a run like others.
    main(["train", "self_guidance", "--weight", "1", *QUICK, "--out", run])
    main(["evaluate", run])


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


# ---------------------------------------------------------------- what is given


def test_what_stands_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "method baseline stands twice" in refused(capsys, "compare", "baseline", "baseline", *QUICK)
    # The same run, written in two ways: 1 is the default.
    same = ["self_guidance", "self_guidance:survival=0.8", "self_guidance:survival=0.80"]
    assert "method self_guidance survival=0.8 stands twice" in refused(capsys, "compare", *same, *QUICK)
    assert "seed 1 stands twice" in refused(capsys, "compare", "baseline", "--seeds", "1,0,1", *QUICK)
    assert "seed 1 stands twice" in refused(
        capsys, "sweep", "baseline", "--lr", "0.1,0.2", "--seeds", "1,1", *QUICK
    )


def test_a_teacher_that_no_method_takes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "compare", "baseline", "self_guidance", "--teacher", "resnet8", *QUICK)
    assert "no method here takes a teacher: baseline, self_guidance; leave --teacher out" in said


def test_a_teacher_from_python_that_no_method_takes_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"epochs": 1, "train_images": 100, "batch_size": 50, "device": "cpu", "teacher": ("resnet8",)}
    cohobate.compare(["baseline"], [0], cohobate.Training(**options))  # type: ignore[arg-type]
    assert "note: no method here takes a teacher, so resnet8 is not used" in capsys.readouterr().err


def test_options_from_the_file_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "self_guidance", "--weight", "0.5", "--lr", "0.2", "--seed", "3", *QUICK, "--out", "run"])
    main(["compare", "baseline", "--config", "run/run.yaml", "--seeds", "0", "--quiet", "--out", "c"])
    said = capsys.readouterr().err
    assert (
        "note: run/run.yaml is a run of self_guidance, so these options are left out: survival, weight, "
        in said
    )
    assert said.rstrip().endswith(", seed")
    recorded = yaml.safe_load(Path("c/baseline/seed-0/run.yaml").read_text())
    assert (recorded["lr"], recorded["seed"], recorded["train_images"]) == (0.2, 0, 150)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lr": -1}, "own.yaml: compare: lr: Input should be greater than 0"),
        ({"epoch": 1}, "own.yaml: compare has no option 'epoch'; the nearest are epochs"),
        ({"seed": 1}, "own.yaml: a comparison has --seeds and no seed"),
    ],
)
def test_a_file_that_is_wrong_is_named(
    content: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(content))
    assert message in refused(capsys, "compare", "baseline", "--config", "own.yaml", *QUICK)
