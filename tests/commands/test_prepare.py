"""What cannot be trained is refused before anything is written or trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import refused
from filelock import FileLock

from cohobate.cli import main
from cohobate.commands import prepare as module
from cohobate.commands import running
from cohobate.commands.outlook import show_plan
from cohobate.commands.prepare import prepare
from cohobate.commands.sweeping import sweep
from cohobate.commands.train import train
from cohobate.config.groups import Training
from cohobate.engine.checkpoint import read_state
from cohobate.recipes.options import options

SMALL = {"epochs": 1, "train_images": 150, "batch_size": 50, "device": "cpu"}
QUICK = [text for key, value in SMALL.items() for text in (f"--{key.replace('_', '-')}", str(value))]
TAUGHT = ["train", "kd", "--teacher", "resnet8", "--out", "run", "--quiet", *QUICK]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        (
            ["--unlabelled", "digits", "--unlabelled-share", "0.5", "--label-smoothing", "0.1"],
            ["--unlabelled", "digits", "--unlabelled-share", "0.5"],
            ("label_smoothing 0.1", "set it to 0", "leave out --unlabelled"),
        ),
        (
            ["--cache-teacher", "on"],
            ["--cache-teacher", "on", "--augmentations", "1"],
            ("--cache-teacher on", "--augmentations"),
        ),
        (["--teacher-lr", "0"], ["--teacher-lr", "0.05"], ("teacher_lr", "greater than 0", "0.0")),
        (["--batch-size", "5000"], [], ("5000", "1")),
    ],
    ids=["smoothed and unlabelled", "cached without versions", "range", "batch"],
)
def test_it_is_refused_before_a_folder_or_a_teacher(
    wrong: list[str], right: list[str], message: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([*TAUGHT, *wrong], [*TAUGHT, *wrong, "--dry-run"]):
        said = refused(capsys, *arguments)
        assert all(part in said for part in message)
    main([*TAUGHT, *right])
    assert json.loads(Path("run/result.json").read_text())["method"] == "kd"
    assert len(list(Path("runs/teachers").glob("*/result.json"))) == 1


def test_what_a_method_cannot_take_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "dkd", *TAUGHT[2:], "--mixing", "mixup")
    assert "DKD needs integer labels" in said
    said = refused(capsys, "train", "overhaul", *TAUGHT[2:], "--model", "own.py:make")
    assert "own.py" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "baseline", "sad:skip=2", "--seeds", "0"],
        ["sweep", "sad", "--skip", "0,2", "--seeds", "0"],
        ["sweep", "baseline", "--lr", "0.1,0.2", "--beside", "sad:skip=2"],
    ],
    ids=" ".join,
)
def test_one_of_several_that_is_wrong_stops_all(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """ResNet-8 has three stages: of two that take no part one is left, and it has nobody to learn from."""
    assert "skip" in refused(capsys, *arguments, *QUICK, "--quiet")


def test_a_value_that_the_network_cannot_take_stops_a_sweep() -> None:
    with pytest.raises(ValueError, match="unknown model 'resnet21'"):
        sweep("baseline", "model", ["resnet8", "resnet21"], training=Training(**SMALL), quiet=True)
    assert not Path("runs").exists()


def test_a_method_that_is_not_whole_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(
        "import cohobate\n"
        "from cohobate.core import as_output, cross_entropy\n"
        "class Half(cohobate.Method):\n"
        "    def __init__(self, network):\n"
        "        super().__init__()\n"
        "        self.network = network\n"
        "    def forward(self, batch, turn=0):\n"
        "        return {'ce': cross_entropy(as_output(self.network(batch.x)).logits, batch.y)}\n"
    )
    said = refused(capsys, "train", "mine.py:Half", *QUICK)
    assert "Half.readouts is missing" in said
    assert "predictors() and readouts(x)" in said


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("takd --assistants resnet14,resnet99", "unknown model 'resnet99'"),
        ("dgkd --assistants resnet14,resnet99", "unknown model 'resnet99'"),
        ("takd --assistants resnet14 --init none.pt", "none.pt"),
        ("takd --assistants resnet14 --model resnet99", "unknown model 'resnet99'"),
    ],
)
def test_what_only_a_later_phase_needs_is_refused_too(
    method: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "train", *method.split(), "--teacher", "resnet8", "--out", "run", *QUICK)
    assert message in said


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("{}", "Odd gives no loss"),
        ("{'ce': cross_entropy(x, batch.y).detach()}", "no trained parameter affects the loss of Odd: ce"),
        ("{'ce': x}", r"the loss term 'ce' of Odd is of shape (50, 10); give its mean"),
    ],
    ids=["none", "detached", "no mean"],
)
def test_a_loss_that_cannot_be_trained_by_is_refused(
    losses: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(
        "import cohobate\n"
        "from cohobate.core import as_output, cross_entropy\n"
        "class Odd(cohobate.Method):\n"
        "    def __init__(self, network):\n"
        "        super().__init__()\n"
        "        self.network = network\n"
        "    def forward(self, batch, turn=0):\n"
        "        x = as_output(self.network(batch.x)).logits\n"
        f"        return {losses}\n"
        "    def predictors(self):\n"
        "        return {'network': self.network}\n"
        "    def readouts(self, x):\n"
        "        return {'network': as_output(self.network(x)).logits}\n"
    )
    said = refused(capsys, "train", "mine.py:Odd", *QUICK, "--out", "run")
    assert message in said


def test_a_folder_that_cannot_be_written_is_refused_before_a_teacher(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").touch()
    said = refused(capsys, *TAUGHT, "--out", "file/run", "--precision", "auto")
    assert "cannot write file/run/run.yaml" in said


def test_a_folder_of_one_of_several_is_refused_before_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--seed", "1", "--lr", "0.2", "--quiet", "--out", "c/baseline/seed-1"])
    said = refused(capsys, "compare", "baseline", "--seeds", "0,1", "--out", "c", *QUICK)
    assert "c/baseline/seed-1 belongs to another configuration" in said
    assert "lr: 0.2 there, 0.1 asked for" in said


def test_a_folder_in_which_nothing_was_trained_is_claimed_anew(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    main(["train", "baseline", *QUICK, "--quiet", "--out", "other", "--lr", "0.2"])
    for name in ("run.yaml", "provenance.json"):
        Path("run", name).write_text(Path("other", name).read_text())
    command = ["train", "baseline", *QUICK, "--out", "run"]
    main(command)
    said = capsys.readouterr().err
    assert "note: run was of another run, of which nothing was trained; it is begun anew" in said
    assert yaml.safe_load(Path("run/run.yaml").read_text())["lr"] == 0.1
    Path("run/result.json").unlink()
    said = refused(capsys, *command, "--lr", "0.2")
    assert "lr: 0.1 there, 0.2 asked for" in said


def test_two_processes_do_not_train_in_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run").mkdir()
    with FileLock("run/.lock"):
        said = refused(capsys, "train", "baseline", *QUICK, "--out", "run")
    assert "another process trains in run; wait for it, or give another --out" in said


def test_what_is_wrong_comes_before_whose_folder_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TAUGHT])
    said = refused(capsys, "train", "kd", "--out", "run", *QUICK)
    assert "needs a teacher" in said
    said = refused(capsys, *TAUGHT, "--weight", "0.5")
    assert "weight: 0.9 there, 0.5 asked for" in said
    assert "teacher_seed" not in said


def test_a_run_that_goes_on_is_not_tried_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["train", "baseline", "--quiet", *QUICK, "--epochs", "3"]
    main([*command, "--out", "whole"])
    with pytest.raises(SystemExit) as stop:
        main([*command, "--out", "parts", "--max-minutes", "1e-6"])
    assert stop.value.code == 75

    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("tried out")

    monkeypatch.setattr(module.Prepared, "check", never)
    main([*command, "--out", "parts"])
    whole, parts = (read_state(Path(name, "deployed.safetensors")).tensors for name in ("whole", "parts"))
    assert all((whole[key] == parts[key]).all() for key in whole)


def test_a_folder_of_before_is_measured_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """It recorded what a teacher would be, and knew fewer options."""
    command = ["train", "baseline", "--out", "run", "--quiet", *QUICK]
    main(command)
    config = yaml.safe_load(Path("run/run.yaml").read_text())
    before = {key: value for key, value in config.items() if key not in ("cutout", "autoaugment")}
    Path("run/run.yaml").write_text(yaml.safe_dump({**before, "teacher_epochs": 7, "log_test": True}))
    Path("run/result.json").unlink()
    main(command)
    main(["evaluate", "run"])
    assert "top-1 error %" in capsys.readouterr().out
    main(["attention", "run", "--images", "1"])
    assert "classifier" in capsys.readouterr().out
    assert Path("run/attention-val.png").exists()


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"alpha": 2.0, "depth": 2}, "frskd"),
        ({"alpha": 1.0, "depth": 2}, "frskd-alpha=1.0"),
    ],
)
def test_what_is_the_default_for_these_data_is_in_no_folder(
    given: dict[str, Any], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparisons name theirs by the label, too."""
    seen: list[Path] = []
    monkeypatch.setattr(running, "run", lambda prepared, folder, quiet: seen.append(folder.path))
    train("frskd", options("frskd", {**given, **SMALL}), quiet=True)
    assert seen == [Path("runs/digits-resnet8") / folder / "seed-0"]


def test_a_dry_run_shows_the_options_that_the_run_would_have(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan("frskd", options("frskd", SMALL))
    shown = capsys.readouterr().out
    assert "\nalpha=2.0  beta=None  temperature=4.0  start=0.0  ramp=0.0  features=at " in shown


def test_a_dry_run_and_a_run_prepare_the_same() -> None:
    one, two = (prepare("kd", options("kd", {"teacher": "resnet8", **SMALL})) for _ in range(2))
    assert (one.config, one.label, one.options) == (two.config, two.label, two.options)
    assert one.fingerprint == two.fingerprint
    assert one.config.compile == "off"
