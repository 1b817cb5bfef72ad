"""Which runs beside a run are trained like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folders import MakeRun

from cohobate.runs.reading import Run
from cohobate.runs.siblings import Beside, baselines, siblings


def seeds(beside: Beside) -> list[int]:
    return [run.outcome["seed"] for run in beside.runs]


def test_the_seeds_of_a_method(make_run: MakeRun) -> None:
    make_run("kd/seed-2", method="kd", seed=2)
    run = make_run("kd/seed-0", method="kd", seed=0)
    make_run("kd/seed-1", method="kd", seed=1)
    make_run("kd/notes", method="kd", seed=7)
    make_run("kd-weight=2/seed-3", method="kd", seed=3)
    found = siblings(run)
    assert seeds(found) == [0, 1, 2]
    assert found.left_out == {}
    assert found.runs[0].folder == run.folder


def test_all_are_reported_by_the_read_out_of_the_run(make_run: MakeRun) -> None:
    """Whatever their own option says; a baseline by the network that it deploys."""
    run = make_run("dml/seed-0", method="dml").reporting("other")
    make_run("dml/seed-1", method="dml", seed=1, config={"readout": "network"})
    make_run("baseline/seed-0", method="baseline", config={"readout": "other"})
    assert [each.readout for each in siblings(run).runs] == ["other", "other"]
    assert [each.readout for each in baselines(run).runs] == ["network"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"epochs": 8}, "trained otherwise: epochs 4 here, 8 there"),
        ({"config": {"lr": 0.2}}, "trained otherwise: lr 0.1 here, 0.2 there"),
        ({"options": {"weight": 2}}, "trained otherwise: weight not given here, 2 there"),
        ({"method": "dkd"}, "trained otherwise: method kd here, dkd there"),
        ({"provenance": {"data_fingerprint": "b"}}, "trained otherwise: other images"),
        ({"finished": False}, "it has not finished"),
        ({"seed": 0}, "its seed, 0, is that of seed-0"),
    ],
)
def test_what_is_no_other_seed_of_it(make_run: MakeRun, settings: dict[str, Any], why: str) -> None:
    images: dict[str, Any] = {"provenance": {"data_fingerprint": "a"}}
    run = make_run("kd/seed-0", method="kd", **images)
    make_run("kd/seed-1", **{"method": "kd", "seed": 1, **images, **settings})
    found = siblings(run)
    assert seeds(found) == [0]
    assert list(found.left_out) == ["seed-1"]
    assert found.left_out["seed-1"].endswith(why)


def test_a_run_that_diverged_and_one_that_cannot_be_read(make_run: MakeRun) -> None:
    run = make_run("kd/seed-0", method="kd")
    lost = make_run("kd/seed-1", method="kd", seed=1, finished=False)
    (lost.folder / "failure.json").write_text('{"message": "loss kl is nan; lower the rate"}')
    cut = make_run("kd/seed-2", method="kd", seed=2)
    (cut.folder / "result.json").write_text('{"method": ')
    found = siblings(run)
    assert seeds(found) == [0]
    assert found.left_out["seed-1"] == "it has diverged: loss kl is nan"
    assert found.left_out["seed-2"].startswith("it cannot be read: ")
    assert "result.json is not JSON" in found.left_out["seed-2"]


def test_bookkeeping_and_what_the_first_seed_computed_are_no_difference(make_run: MakeRun) -> None:
    run = make_run("ffm_cd/seed-0", method="ffm_cd", options={"gamma": None}, computed={"gamma": 0.01})
    make_run("ffm_cd/seed-1", method="ffm_cd", seed=1, options={"gamma": 0.01}, config={"log_test": True})
    assert seeds(siblings(run)) == [0, 1]


def test_options_about_a_teacher_are_none_where_there_is_no_teacher(make_run: MakeRun) -> None:
    run = make_run("a/seed-0", method="dml")
    make_run("a/seed-1", method="dml", seed=1, config={"teacher_epochs": 3})
    assert seeds(siblings(run)) == [0, 1]


def test_the_baseline_may_differ_in_its_method_and_teacher_only(make_run: MakeRun) -> None:
    taught = {"teacher": ["resnet56"], "teacher_epochs": 3}
    run = make_run("kd/seed-0", method="kd", options={"weight": 0.9}, config=taught)
    make_run("baseline/seed-1", method="baseline", seed=1)
    make_run("baseline/seed-0", method="baseline")
    make_run("baseline-lr=0.2/seed-0", method="baseline", config={"lr": 0.2})
    make_run("baseline-kd/seed-4", method="kd", seed=4)
    found = baselines(run)
    assert seeds(found) == [0, 1]
    assert found.left_out == {
        "baseline-lr=0.2/seed-0": "it was trained otherwise: lr 0.1 here, 0.2 there",
    }


def test_nothing_is_beside_a_baseline(make_run: MakeRun) -> None:
    run = make_run("baseline/seed-0", method="baseline")
    make_run("baseline-2/seed-0", method="baseline")
    assert baselines(run) == Beside((), {})


def test_a_run_named_from_its_own_folder(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """``cohobate export .`` sees the same runs."""
    from dataclasses import replace

    run: Run = make_run("kd/seed-0", method="kd")
    make_run("kd/seed-1", method="kd", seed=1)
    make_run("baseline/seed-0", method="baseline")
    monkeypatch.chdir(run.folder)
    here = replace(run, folder=Path())
    assert seeds(siblings(here)) == [0, 1]
    assert seeds(baselines(here)) == [0]
