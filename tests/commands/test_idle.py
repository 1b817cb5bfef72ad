"""Options that would have no effect are refused by name, before anything is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import refused
from PIL import Image
from zoo import toy, toy_data

import cohobate
from cohobate.cli import main
from cohobate.config.groups import Training

QUICK = ["--epochs", "2", "--train-images", "100", "--batch-size", "50", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--schedule cosine --milestones 0.3", "--milestones has no effect with --schedule cosine"),
        ("--step-factor=0.2 --schedule constant", "--step-factor has no effect with --schedule constant"),
        ("--step_factor 0.2 --schedule constant", "--step-factor has no effect with --schedule constant"),
        ("--power 3", "--power has no effect with --schedule step: it needs --schedule power; leave it out"),
        ("--final 0.1", "it needs --schedule cosine or power"),
        ("--optimizer adamw --momentum 0.8", "--momentum has no effect with --optimizer adamw"),
        ("--optimizer adamw --no-nesterov", "--nesterov has no effect with --optimizer adamw"),
        ("--mixing-alpha 0.3", "--mixing-alpha has no effect with --mixing none"),
        ("--mixing-share 0.5", "it needs --mixing mixup or cutmix"),
        ("--keep-epochs 1,3", "--keep-epochs 3: the epochs count from 1, and train has 2"),
        ("--keep-epochs 0", "--keep-epochs 0: the epochs count from 1, and train has 2"),
    ],
)
def test_an_option_without_effect_is_refused(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "train", "baseline", *QUICK, *options.split())
    if "--keep-epochs" not in options:
        assert message in refused(capsys, "compare", "baseline", *QUICK, *options.split())


def test_options_of_a_teacher_that_is_not_there_or_not_trained(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "teacher"])
    kd = ["train", "kd", *QUICK, "--out", "run", "--teacher"]
    said = refused(capsys, *kd, "teacher", "--teacher-lr", "0.1")
    assert "--teacher-lr has no effect with --teacher teacher: it needs a --teacher that is the name" in said
    assert "--teacher-epochs" in refused(
        capsys, *kd, "teacher/deployed.safetensors", "resnet8:weights=x.pt", "--teacher-epochs", "1"
    )
    said = refused(capsys, *kd, "resnet8", "--unlabelled-share", "0.5")
    assert "--unlabelled-share has no effect with no --unlabelled: it needs --unlabelled" in said
    main([*kd, "resnet8", "--teacher-epochs", "1"])


def test_phases_of_their_own_length(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "fitnet_stages", "--teacher", "resnet8", *QUICK, "--epochs", "6", "--out", "run"]
    said = refused(capsys, *arguments, "--keep-epochs", "5,6")
    assert "--keep-epochs 6: the epochs count from 1, and hint has 1, student has 5" in said


def test_options_of_one_method_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["baseline:schedule=cosine", "baseline:schedule=cosine,power=3"]
    said = refused(capsys, "compare", *specs, *QUICK)
    assert "--power has no effect with --schedule cosine" in said


def test_a_sweep_of_an_option_without_effect(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "sweep", "baseline", "--power", "1,2", *QUICK)
    assert "--power has no effect with --schedule step" in said
    # One of the values uses it.
    main(["sweep", "baseline", "--schedule", "cosine,step", "--step-factor", "0.5", *QUICK, "--out", "s"])


def test_what_a_set_up_or_a_file_brings_is_not_refused() -> None:
    Path("own.yaml").write_text(yaml.safe_dump({"milestones": [0.3, 0.6], "teacher_seed": 0}))
    main(["train", "baseline", "--config", "own.yaml", "--schedule", "cosine", *QUICK, "--out", "run"])
    assert yaml.safe_load(Path("run/run.yaml").read_text())["schedule"] == "cosine"


def test_fit_refuses_them_too() -> None:
    with pytest.raises(ValueError, match="--power has no effect with --schedule step"):
        cohobate.fit(cohobate.Supervised(toy()), toy_data(40), power=3.0)


def test_the_rules_name_options() -> None:
    from cohobate.config.idle import RULES

    assert {name for rule in RULES for name in (*rule.options, rule.on)} <= Training.model_fields.keys()


def test_a_test_split_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        Path("pets/train", name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(f"pets/train/{name}/{i}.png")
    options = ["--epochs", "1", "--batch-size", "8", "--device", "cpu", "--log-test", "--out", "run"]
    main(["train", "baseline", "--data", "pets", *options])
    assert "note: pets has no test split, so --log-test has nothing to measure" in capsys.readouterr().err
