"""The command line as a person uses it: in this process where that is enough."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import fails
from PIL import Image

from cohobate.cli import COMMANDS, main
from cohobate.engine.checkpoint import State, read_state, write_state
from cohobate.recipes.networks import load

QUICK = ["--epochs", "2", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


def result(folder: str) -> dict[str, Any]:
    return dict(json.loads((Path(folder) / "result.json").read_text()))


def test_train_writes_a_run_that_says_how_it_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "self_guidance", *QUICK, "--weight", "0.5", "--out", "run"])
    printed = capsys.readouterr().out
    assert "self_guidance weight=0.5 on digits, resnet8, seed 0" in printed
    assert "page: run/report.html" in printed
    config = yaml.safe_load(Path("run/run.yaml").read_text())
    assert config["method"] == "self_guidance"
    assert (config["weight"], config["epochs"], config["device"], config["compile"]) == (0.5, 2, "cpu", "off")
    made = json.loads(Path("run/provenance.json").read_text())
    assert made.keys() >= {"cohobate", "commit", "command", "python", "machine", "data_fingerprint"}
    assert made["environment"]["torch"] == torch.__version__
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines[0]["losses"].keys() == {"ce_student", "ce_teacher", "kl"}
    found = result("run")
    # digits at 10 classes: the deployed network is a plain resnet8.
    assert found["parameters_trained"] == found["parameters_deployed"] == 78_042
    assert found["image_passes"] == 2 * 1280


def test_the_command_of_a_run_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["cohobate", "train", "baseline", *QUICK, "--out", "my run"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cohobate", *typed[1:]])
    main()
    assert shlex.split(json.loads(Path("my run/provenance.json").read_text())["command"]) == typed


def test_run_yaml_round_trip_and_flags_win_in_any_position() -> None:
    main(["train", "self_guidance", *QUICK, "--weight", "0.5", "--milestones", "0.3,0.6", "--out", "a"])
    main(["train", "--config", "a/run.yaml", "--out", "b", "--quiet"])
    one, two = (Path(folder, "run.yaml").read_text() for folder in "ab")
    assert one == two
    tensors = [read_state(Path(folder, "deployed.safetensors")).tensors for folder in "ab"]
    assert all(torch.equal(tensors[0][k], tensors[1][k]) for k in tensors[0])
    main(["train", "self_guidance", "--epochs", "1", "--config", "a/run.yaml", "--out", "c", "--quiet"])
    config = yaml.safe_load(Path("c/run.yaml").read_text())
    assert (config["epochs"], config["weight"], config["milestones"]) == (1, 0.5, [0.3, 0.6])


def test_a_finished_run_is_read_not_trained(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "run"])
    before = Path("run/deployed.safetensors").stat().st_mtime_ns
    main(["train", "baseline", "--epochs", "2", "--device", "cpu", "--out", "run"])
    assert Path("run/deployed.safetensors").stat().st_mtime_ns == before
    assert "already finished: run" in capsys.readouterr().err


def test_a_run_from_before_an_option_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "run"])
    before = Path("run/deployed.safetensors").stat().st_mtime_ns
    recorded = yaml.safe_load(Path("run/run.yaml").read_text())
    del recorded["mixing"], recorded["milestones"], recorded["clip_value"]
    Path("run/run.yaml").write_text(yaml.safe_dump(recorded))
    main(["train", "baseline", *QUICK, "--out", "run"])
    assert Path("run/deployed.safetensors").stat().st_mtime_ns == before
    said = fails(capsys, "train", "baseline", *QUICK, "--mixing", "mixup", "--out", "run")
    assert "mixing: 'none' there, 'mixup' asked for" in said


def test_a_folder_of_another_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "run"])
    before = Path("run/run.yaml").read_text()
    said = fails(capsys, "train", "self_guidance", *QUICK, "--lr", "0.05", "--out", "run")
    assert "run belongs to another configuration" in said
    assert "method: 'baseline' there, 'self_guidance' asked for" in said
    assert "lr: 0.1 there, 0.05 asked for" in said
    assert "epochs" not in said
    assert Path("run/run.yaml").read_text() == before


def test_other_data_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        Path("pets/train", name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(f"pets/train/{name}/{i}.png")
    arguments = ["train", "baseline", "--data", "pets", "--batch-size", "8", *QUICK, "--out", "run"]
    main(arguments)
    assert result("run")["last"]["test"] is None
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("pets/train/cat/0.png")
    said = fails(capsys, *arguments)
    assert "run belongs to other data" in said
    assert "data_fingerprint" in said


def test_a_loss_that_diverges_stops_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "train", "self_guidance", *QUICK, "--lr", "1e12", "--out", "run")
    assert re.search(r"the loss term '\w+' of phase 'train' became (nan|inf)", said)
    assert not Path("run/result.json").exists()


def test_an_unwritable_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    said = fails(capsys, "train", "baseline", *QUICK, "--out", "file/run")
    assert re.search(r"error: cannot write file/run/run.yaml .*(Not a directory|File exists)", said)


def test_another_environment_is_refused_until_told(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "baseline", "--epochs", "3", "--device", "cpu", "--quiet", "--out", "run"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--max-minutes", "0.0001"])
    assert stop.value.code == 75
    assert "minutes given are over" in capsys.readouterr().err
    made = json.loads(Path("run/provenance.json").read_text())
    made["environment"]["torch"] = "2.0.0"
    Path("run/provenance.json").write_text(json.dumps(made))
    said = fails(capsys, *arguments)
    assert f"torch: '2.0.0' there, '{torch.__version__}' asked for" in said
    assert "--resume anyway" in said
    main([*arguments, "--resume", "anyway"])
    assert result("run")["last"]["epoch"] == 3


def test_max_minutes_again_and_again_ends_the_same() -> None:
    arguments = ["train", "self_guidance", "--epochs", "3", "--device", "cpu", "--quiet", "--out"]
    main([*arguments, "whole"])
    codes: list[int | str | None] = []
    while not codes or codes[-1] == 75:
        try:
            main([*arguments, "cut", "--max-minutes", "0.005"])
            codes.append(0)
        except SystemExit as stop:
            codes.append(stop.code)
    assert codes[-1] == 0
    assert len(codes) > 1
    states = [read_state(Path(folder, "deployed.safetensors")).tensors for folder in ("whole", "cut")]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    histories = [
        [json.loads(x) for x in Path(f, "metrics.jsonl").read_text().splitlines()] for f in ("whole", "cut")
    ]
    for key in ("epoch", "lr", "losses", "val"):
        assert [r[key] for r in histories[0]] == [r[key] for r in histories[1]]


def test_dry_run_trains_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "kd", "--teacher", "resnet20", "--epochs", "2", "--dry-run"])
    printed = capsys.readouterr().out
    assert re.search(r"teacher resnet20 +. +2 +. +10 +. +272,474", printed)
    assert re.search(r"student +. +2 +. +10 +. +78,042", printed)
    assert "1,295 training and 143 validation images, 10 classes" in printed
    assert list(Path().iterdir()) == []


def test_init_begins_from_the_weights() -> None:
    main(["train", "baseline", *QUICK, "--out", "first"])
    start = "first/deployed.safetensors"
    main(
        ["train", "baseline", "--init", start, "--epochs", "1", "--lr", "1e-12", "--quiet", "--out", "second"]
    )
    one, two = load("first"), load("second")
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)


def test_evaluate_prints_every_measure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *QUICK, "--out", "run"])
    capsys.readouterr()
    main(["evaluate", "run"])
    printed = capsys.readouterr().out
    error = result("run")["last"]["test"]["network"]["top1_error"]
    assert re.search(rf"top-1 error % +. +{error:.3f}", printed)
    for what in ("top-5 error %", "NLL", "calibration error %", "error % of 0", "error % of 9", "359 images"):
        assert what in printed
    main(["evaluate", "run", "--split", "val", "--weights", "best"])
    best = result("run")["best"]["val"]["network"]["top1_error"]
    assert re.search(rf"top-1 error % +. +{best:.3f}", capsys.readouterr().out)


def test_compare_trains_what_is_missing_and_reuses_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--epochs", "2", "--device", "cpu", "--out", "c"]
    main(["compare", "baseline", "--seeds", "0", *common])
    first = Path("c/baseline/seed-0/result.json").stat().st_mtime_ns
    capsys.readouterr()
    main(["compare", "baseline", "self_guidance:weight=0.5,survival=0.8", "--seeds", "0,1", *common])
    assert Path("c/baseline/seed-0/result.json").stat().st_mtime_ns == first
    captured = capsys.readouterr()
    assert "already finished: c/baseline/seed-0" in captured.err
    assert "c/index.html" in captured.out
    table = json.loads(Path("c/table.json").read_text())
    assert "self_guidance survival=0.8 weight=0.5" in json.dumps(table)
    config = yaml.safe_load(Path("c/self_guidance-survival=0.8-weight=0.5/seed-1/run.yaml").read_text())
    assert (config["weight"], config["survival"], config["seed"]) == (0.5, 0.8, 1)
    assert Path("c/table.md").read_text().count("|") > 20
    assert Path("c/table.csv").exists()


def test_compare_gives_the_teacher_to_those_who_take_one() -> None:
    common = [*QUICK, "--seeds", "0", "--out", "c"]
    main(["compare", "baseline", *common])
    main(["compare", "baseline", "kd", "--teacher", "resnet14", *common])
    assert yaml.safe_load(Path("c/baseline/seed-0/run.yaml").read_text())["teacher"] == []
    assert result("c/kd/seed-0")["image_passes"] == 2 * 1280


def test_auto_precision_is_recorded_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "baseline", "self_guidance", "--seeds", "0", "--precision", "auto"]
    main([*arguments, "--epochs", "1", "--device", "cpu", "--out", "c"])
    said = capsys.readouterr().err
    assert said.count("(a step takes: fp32 contiguous") == 1
    configs = [
        yaml.safe_load(Path(f"c/{m}/seed-0/run.yaml").read_text()) for m in ("baseline", "self_guidance")
    ]
    assert configs[0]["precision"] in ("fp32", "bf16")
    assert configs[0]["precision"] == configs[1]["precision"]
    main([*arguments, "--epochs", "1", "--device", "cpu", "--out", "c"])
    assert "a step takes" not in capsys.readouterr().err


def test_report_of_one_run_and_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    for method in ("baseline", "self_guidance"):
        main(["train", method, *QUICK, "--out", f"r/{method}"])
    capsys.readouterr()
    main(["report", "r/baseline"])
    assert capsys.readouterr().out.strip() == "r/baseline/report.html"
    main(["report", "r"])
    assert Path("r/report/index.html").read_text().count("<svg") >= 1


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("methods", ["baseline", "kd", "stochastic_depth", "self_guidance", "temperature"]),
        ("models", ["resnet110b", "wrn_40_2", "278,324", "40.8"]),
        ("data", ["digits", "cifar10", "cifar100", "FOLDER"]),
    ],
)
def test_list(what: str, expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["list", what])
    printed = capsys.readouterr().out
    assert all(word in printed for word in expected)


def test_list_says_which_data_sets_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    from cohobate.data.sets import SETS

    Path("sets/fer2013/train").mkdir(parents=True)
    main(["list", "data", "--data-root", "sets"])
    printed = capsys.readouterr().out
    assert "here: fer2013; without test" in printed
    assert f"here: not in {Path('sets').absolute()}"[:40] in printed
    for entry in SETS.values():
        assert f"licence: {entry.licence}" in printed
    with pytest.raises(SystemExit):
        main(["list", "methods", "--data-root", "sets"])
    assert "--data-root is for `cohobate list data`, got `list methods`" in capsys.readouterr().err


def test_a_folder_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for split, n in (("train", 12), ("test", 4)):
        for k, name in enumerate(("cat", "dog")):
            folder = Path("pets", split, name)
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 100, (12, 12, 3), np.uint8) + np.uint8(120 * k)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    main(["train", "baseline", "--data", "pets", "--batch-size", "8", "--lr", "0.01", *QUICK, "--out", "run"])
    assert result("run")["train_images"] == 22
    main(["evaluate", "run"])
    assert "error % of cat" in capsys.readouterr().out


MODEL = """
from torch import nn
def make(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
def wrong(classes):
    return "no module"
"""

METHOD = '''
from typing import Annotated
from pydantic import Field
from cohobate import Method, Classifier
import torch.nn.functional as F

class Scaled(Method):
    """Cross-entropy, scaled."""
    def __init__(self, network, scale: Annotated[float, Field(gt=0, description="s, the factor")] = 2.0):
        super().__init__()
        self.network, self.scale = network, scale
    def forward(self, batch, turn=0):
        return {"scaled": self.scale * F.cross_entropy(self.network(batch.x).logits, batch.y)}
    def predictors(self):
        return {"network": Classifier(self.network)}
    def readouts(self, x):
        return {"network": self.network(x).logits}
'''


def test_a_model_and_a_method_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(MODEL)
    Path("ours.py").write_text(METHOD)
    own = ["--model", "mine.py:make", "--lr", "0.01", *QUICK]
    main(["train", "ours.py:Scaled", "--scale", "3", *own, "--out", "run"])
    assert yaml.safe_load(Path("run/run.yaml").read_text())["scale"] == 3.0
    main(["evaluate", "run"])
    capsys.readouterr()
    main(["compare", "baseline", "ours.py:Scaled:scale=0.5", "--seeds", "0", *own, "--out", "c"])
    assert "scale=0.5" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["train", "ours.py:Scaled", "--help"])
    assert stop.value.code == 0
    assert "s, the factor" in capsys.readouterr().out
    assert "returned str, not a torch.nn.Module" in fails(
        capsys, "train", "baseline", "--model", "mine.py:wrong"
    )
    assert "mine.py has no 'mak'; it has make" in fails(capsys, "train", "baseline", "--model", "mine.py:mak")
    assert "no file gone.py" in fails(capsys, "train", "baseline", "--model", "gone.py:make")
    assert "is not a class that inherits" in fails(capsys, "train", "mine.py:make")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "self_guidence"], r"unknown method 'self_guidence'; the nearest are self_guidance"),
        (["train", "baseline", "--model", "resnet21"], r"unknown model 'resnet21'; the nearest are"),
        (["train", "baseline", "--data", "cifar11"], r"cifar1"),
        (["train", "baseline", "--data", "cifar10"], r"cifar-10-batches-py"),
        (["train", "baseline", "--teacher", "resnet20"], r"baseline takes no teacher; leave --teacher out"),
        (["train", "kd"], r"this method needs a teacher: give --teacher"),
        (["train", "kd", "--teacher", "none.safetensors"], r"cannot read none.safetensors"),
        (
            ["train", "self_guidance", "--weight", "-1"],
            r"self_guidance: weight: Input should be greater than or equal to 0 \(got -1.0\)",
        ),
        (["train", "baseline", "--config", "none.yaml"], r"no configuration none.yaml"),
        (["train", "baseline", "--batch-size", "5000"], r"5000.*1,?295|1,?295.*5000"),
        (["train", "baseline", "--device", "cuda:9"], r"no device 'cuda:9' here; there is cpu"),
        (["compare", "baseline:lr"], r"unknown method|no file|no module"),
        (
            ["compare", "self_guidance:wieght=1"],
            r"self_guidance has no option 'wieght'; the nearest are weight",
        ),
        (["compare", "self_guidance:weight=1,x"], r"'x' in 'self_guidance:weight=1,x' is not option=value"),
        (["evaluate", "nowhere"], r"the folder nowhere does not exist"),
        (["report", "nowhere"], r"nowhere"),
        (["report"], r"name at least one run folder"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(capsys, *arguments)
    assert re.search(message, said), said
    assert "Traceback" not in said


def test_a_mistyped_flag_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "baseline", "--epoch", "3"])
    assert "--epochs" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert "`cohobate compare` alone runs a small comparison" in printed
    assert all(command in printed for command in COMMANDS)
    with pytest.raises(SystemExit, match="0"):
        main(["train", "self_guidance", "--help"])
    printed = capsys.readouterr().out
    for symbol in ("lambda of eq. 5", "tau, temperature that softens", "p_L, survival", "table 6"):
        assert symbol in re.sub(r"[\s│]+", " ", printed)


def test_help_names_what_masks_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one column
    with pytest.raises(SystemExit):
        main(["train", "baseline", "--help"])
    said = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "images in train/<class>/, a folder with images/ and masks/ (a class for every pixel), " in said
    assert "a file of arrays (.npz), or hf:NAME of the Hugging Face hub" in said
    assert "for images with masks dense: before any of them, dense:resnet20" in said
    assert "of threads that scale and crop images with masks" in said


def test_help_writes_lists_as_they_are_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one column
    with pytest.raises(SystemExit, match="0"):
        main(["train", "baseline", "--help"])
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "lowers the learning rate. (default: 0.5,0.75)" in printed
    with pytest.raises(SystemExit, match="0"):
        main(["compare", "--help"])
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "trained once with each. (default: 0,1)" in printed
    assert "(default: baseline self_guidance)" in printed


def test_help_shows_what_follows_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    for form in ("report RUN ...", "list methods|models|data|setups", "train METHOD ...", "inspect MODEL"):
        assert f"  cohobate {form}\n" in printed


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("train frskd --sla true", "sla"),
        ("train frskd --sla=False", "sla"),
        ("train frskd --no-sla 1", "sla"),
        ("train baseline --log_test yes --epochs 1", "log-test"),
        ("compare baseline --quiet on", "quiet"),
        ("sweep baseline --lr 0.1,0.2 --no-nesterov=true", "nesterov"),
    ],
)
def test_a_flag_takes_no_value(arguments: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, *arguments.split())
    assert f"--{name} is a flag and takes no value" in said
    assert f"write --{name} or --no-{name}" in said


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["trane"])
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert "trane" in printed
    assert ", ".join(COMMANDS) in printed


ONE_STEP = ["train", "baseline", "--epochs", "1", "--train-images", "128", "--device", "cpu", "--quiet"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        # The weights are finite, about 1e30, and what they give is not.
        (["--lr", "1e30"], "the measure 'nll' of the read-out 'network' on the val split is nan after epoch"),
        (["--lr", "1e30", "--val-fraction", "0"], "on the test split is nan after epoch 1 .*nothing is depl"),
        (
            ["--lr", "1e30", "--weight-decay", "1e30"],
            r"tensors \(network\.\S+, .*\) of phase 'train' are not finite in epoch 1",
        ),
    ],
)
def test_a_last_update_that_is_not_finite_is_no_result(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*ONE_STEP, "--out", "run", *options])
    assert stop.value.code not in (0, None)
    assert re.search(said, " ".join(capsys.readouterr().err.split()))
    assert not Path("run/result.json").exists()
    assert not Path("run/deployed.safetensors").exists()


def test_weights_of_before_that_are_not_finite_are_not_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that an older version left: its last checkpoint holds NaN."""
    main([*ONE_STEP, "--out", "run"])
    for name in ("train/last.safetensors", "deployed.safetensors"):
        tensors, facts = read_state(Path("run", name))
        key = next(key for key in tensors if key.endswith("fc.weight"))
        tensors[key][0, 0] = torch.nan
        write_state(Path("run", name), State(tensors, facts))
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "run"])
    assert stop.value.code not in (0, None)
    assert "the measure 'nll' of run/deployed.safetensors on the test split is nan" in " ".join(
        capsys.readouterr().err.split()
    )
    Path("run/result.json").unlink()
    Path("run/deployed.safetensors").unlink()
    with pytest.raises(SystemExit) as stop:
        main([*ONE_STEP, "--out", "run"])
    assert stop.value.code not in (0, None)
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"1 of \d+ tensors \(\S*fc\.weight\) of the network to deploy, those of epoch 1 of", said
    )
    assert (
        "nothing is deployed; lower lr or the weight of a term, or set clip, and give another --out" in said
    )
    assert not Path("run/deployed.safetensors").exists()
