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
from cohobate.config.idle import RULES, refuse_idle
from cohobate.recipes.catalogue import METHODS
from cohobate.recipes.options import options, options_model

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


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("reskd --rkd-of features", "--rkd-of has no effect with --via kd: it needs --via rkd; leave it out"),
        ("reskd --via dml --distance-weight 1", "--distance-weight has no effect with --via dml"),
        ("reskd --angle-weight 1", "--angle-weight has no effect with --via kd: it needs --via rkd"),
        ("reskd --peer untrained", "--peer has no effect with --via kd: it needs --via dml"),
        ("reskd --via rkd --loss kl", "--loss has no effect with --via rkd: it needs --via kd or dml"),
        ("reskd --via rkd --tau 0.5", "--tau has no effect with --via rkd"),
        ("reskd --via rkd --reduction sum", "--reduction has no effect with --via rkd"),
        ("reskd --via rkd --temperature 2", "--temperature has no effect with --via rkd"),
        (
            "reskd --temperature 2",
            "--temperature has no effect with --loss l2: it needs --loss probabilities",
        ),
        (
            "reskd --loss kl --reduction sum",
            "--reduction has no effect with --loss kl: it needs --loss l2 or",
        ),
        ("reskd --via rkd --rkd-of features --compare sum", "--compare has no effect with --rkd-of features"),
        (
            "reskd --energy-split val --energy-share 0.2",
            "--energy-share has no effect with --energy-split val",
        ),
        (
            "ensemble --learn labels --loss kl",
            "--loss has no effect with --learn labels: it needs --learn kd",
        ),
        ("ensemble --learn labels --tau 0.5", "--tau has no effect with --learn labels"),
        (
            "trained_together --learn labels --temperature 2",
            "--temperature has no effect with --learn labels",
        ),
        ("trained_together --learn labels --reduction sum", "--reduction has no effect with --learn labels"),
        ("trained_together --temperature 2", "--temperature has no effect with --loss l2"),
        ("l2 --temperature 2", "--temperature has no effect with --of logits: it needs --of probabilities"),
    ],
)
def test_an_option_of_one_method_without_effect(
    typed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "train", *typed.split(), "--teacher", "resnet8", *QUICK)
    method, *flags = typed.split()
    own = ",".join(
        f"{name.removeprefix('--').replace('-', '_')}={value}"
        for name, value in zip(flags[::2], flags[1::2], strict=True)
    )
    assert message in refused(capsys, "compare", f"{method}:{own}", "--teacher", "resnet8", *QUICK)


def test_other_methods_have_such_options_always() -> None:
    """``temperature`` of KD, ``distance_weight`` of RKD: no other option decides about them."""
    for method, option in (("kd", "temperature"), ("rkd", "distance_weight"), ("fitnet", "weight")):
        refuse_idle([option], dict(options(method, {"teacher": ("resnet8",)})))
    for given in ({"via": "rkd"}, {"via": "dml"}, {"loss": "kl"}, {"loss": "probabilities"}):
        values = dict(options("reskd", {"teacher": ("resnet8",), **given}))
        refuse_idle([*given, "stop_share", "ce_of", "compare", "energy_share"], values)


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
    """Of every run, or all of them of one method."""
    models = [set(options_model(method).model_fields) for method in METHODS]
    for rule in RULES:
        assert any({*rule.options, rule.on} <= model for model in models), rule


def test_a_test_split_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        Path("pets/train", name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(f"pets/train/{name}/{i}.png")
    options = ["--epochs", "1", "--batch-size", "8", "--device", "cpu", "--log-test", "--out", "run"]
    main(["train", "baseline", "--data", "pets", *options])
    assert "note: pets has no test split, so --log-test has nothing to measure" in capsys.readouterr().err
