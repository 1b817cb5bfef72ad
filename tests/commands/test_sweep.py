"""A sweep as a person runs it: what is trained, what is kept, what is refused before anything trains."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cohobate.cli import main
from cohobate.commands import attempts as module
from cohobate.commands.prepare import Prepared
from cohobate.commands.sweeping import sweep
from cohobate.config.groups import Training
from cohobate.engine.errors import NonFiniteLoss, RunError, Stopped
from cohobate.runs.layout import RunFolder

SMALL = {"epochs": 1, "train_images": 150, "batch_size": 50, "device": "cpu"}
QUICK = [text for key, value in SMALL.items() for text in (f"--{key.replace('_', '-')}", str(value))]
QUICK += ["--quiet"]
TRAINING = Training.model_validate(SMALL)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Training]]:
    """Method, folder and options of every run, which is written down and not trained."""
    seen: list[tuple[str, str, Training]] = []

    def write(prepared: Prepared, folder: RunFolder, *, checked: bool, quiet: bool) -> None:
        assert checked  # before the first of them is trained
        method, config = prepared.method, prepared.config
        seen.append((method, str(folder.path), config))
        error = {"top1_error": 10.0 + len(seen)}
        measured = {"network": error}
        folder.path.mkdir(parents=True, exist_ok=True)
        facts = {"method": method, "label": method, "options": {}, "predictor": "network", "epochs": 1}
        facts |= {"seed": config.seed, "model": config.model, "data": config.data, "best": None}
        facts |= {"last": {"epoch": 1, "val": measured, "test": measured}, "train_seconds": 1.0}
        facts |= dict.fromkeys(("parameters_trained", "parameters_deployed", "macs", "train_images"), 1)
        folder.config.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        folder.result.write_text(json.dumps(facts))

    monkeypatch.setattr(module, "run", write)
    return seen


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert list(Path().glob("runs*")) == []
    return capsys.readouterr().err


# ---------------------------------------------------------------- from end to end


def test_a_sweep_trains_draws_and_is_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", "self_guidance", "--weight", "0.1,0.25", "--beside", "baseline", *QUICK]
    main(arguments)
    printed = capsys.readouterr().out
    root = Path("runs/sweep-self_guidance-weight-digits-resnet8")
    folders = [root / f"self_guidance/weight={value}/seed-0" for value in ("0.1", "0.25")]
    for folder, weight in zip(folders, (0.1, 0.25), strict=True):
        assert yaml.safe_load((folder / "run.yaml").read_text())["weight"] == weight
    files = ["sweep.svg", "sweep.json", "sweep.csv", "sweep.md", "index.html"]
    assert printed.splitlines()[-5:] == [str(root / name) for name in files]
    lines = list(csv.DictReader((root / "sweep.csv").read_text().splitlines()))
    assert [line["value"] for line in lines] == ["0.1", "0.25", ""]
    for line, folder in zip(lines, [*folders, root / "baseline/seed-0"], strict=True):
        last = json.loads((folder / "result.json").read_text())["last"]
        assert float(line["test_error"]) == last["test"]["network"]["top1_error"]
        assert float(line["val_error"]) == last["val"]["network"]["top1_error"]
    assert "lambda of eq. 5" in (root / "index.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in root.rglob("deployed.safetensors")}
    drawing = (root / "sweep.svg").read_text()
    main(arguments)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("deployed.safetensors")} == before
    assert len(before) == 3
    assert (root / "sweep.svg").read_text() == drawing


def test_a_value_that_diverges_is_recorded_and_the_rest_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sweep", "baseline", "--lr", "1e30,0.05,1e29", "--out", "s", *QUICK])
    printed = capsys.readouterr().out
    assert re.search(r"0\.05 +1 .+best on val", printed)
    assert re.search(r"1e30 +0 +— +— +diverged", printed)
    assert "lr=1e30, seed 0, diverged: the loss term 'ce' of phase 'train' became" in re.sub(
        r"\s+", " ", printed
    )
    found = json.loads(Path("s/sweep.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["0.05", "1e29", "1e30"]
    assert [bool(row["trials"][0]["diverged"]) for row in found["rows"]] == [False, True, True]
    assert found["best"] == ["0.05"]
    assert "diverged" in Path("s/sweep.svg").read_text()


def test_other_errors_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **more: Any) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr(module, "run", broken)
    with pytest.raises(RunError, match="the disk is full"):
        sweep("baseline", "lr", [0.1, 0.2], training=TRAINING, quiet=True)


def test_a_teacher_that_diverges_is_no_value_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **more: Any) -> None:
        raise NonFiniteLoss("of the teacher, before the run has a folder")

    monkeypatch.setattr(module, "run", broken)
    with pytest.raises(NonFiniteLoss, match="of the teacher"):
        sweep("baseline", "lr", [0.1, 0.2], training=TRAINING, quiet=True)


# ---------------------------------------------------------------- which runs


Trained = list[tuple[str, str, Training]]


def test_every_value_with_every_seed_seed_by_seed(trained: Trained) -> None:
    found, _ = sweep("baseline", "lr", [0.1, "0.2", 0.2], [0, 3], TRAINING, Path("s"), quiet=True)
    assert [folder for _, folder, _ in trained] == [
        f"s/baseline/lr={lr}/seed-{seed}" for seed in (0, 3) for lr in (0.1, 0.2)
    ]
    assert [(config.lr, config.seed) for _, _, config in trained] == [(0.1, 0), (0.2, 0), (0.1, 3), (0.2, 3)]
    assert found.marked == ("0.1", "default")
    assert [row.measured("test") for row in found.rows] == [[11.0, 13.0], [12.0, 14.0]]


def test_what_the_data_decides_is_marked_and_in_no_name(trained: Trained) -> None:
    """On images with one label each alpha is 2 and the temperature 4."""
    found, _ = sweep("frskd:temperature=4", "alpha", [1.0, 2.0], [0], TRAINING, quiet=True)
    root = "runs/sweep-frskd-alpha-digits-resnet8/frskd"
    assert [folder for _, folder, _ in trained] == [f"{root}/alpha={value}/seed-0" for value in ("1", "2")]
    assert (found.label, found.marked) == ("frskd", ("2", "default"))


def test_a_method_beside_keeps_the_shared_options_and_its_own(trained: Trained) -> None:
    found, _ = sweep(
        "self_guidance:survival=0.8",
        "lr",
        [0.2, 0.3],
        training=TRAINING.model_copy(update={"weight_decay": 0.01}),
        out=Path("s"),
        beside=["stochastic_depth:survival=0.7"],
        mark=0.3,
        quiet=True,
    )
    assert [folder for _, folder, _ in trained] == [
        "s/self_guidance-survival=0.8/lr=0.2/seed-0",
        "s/self_guidance-survival=0.8/lr=0.3/seed-0",
        "s/stochastic_depth-survival=0.7/seed-0",
    ]
    assert [config.lr for _, _, config in trained] == [0.2, 0.3, 0.1]
    assert {config.weight_decay for _, _, config in trained} == {0.01}
    assert (found.label, found.marked) == ("self_guidance survival=0.8", ("0.3", "marked"))
    assert "Beside, with lr=0.1: stochastic_depth survival=0.7." in found.notes


def test_the_command_line_gives_every_option_to_the_runs(trained: Trained) -> None:
    main([
        *("sweep", "kd+at", "--kd-temperature=2,4", "--teacher", "resnet20", "--seeds", "0,1", "--out", "s"),
        *("--beside", "kd:weight=0.5,temperature=8", "baseline", "--at-weight", "50", "--mark", "2"),
        *("--milestones", "0.3,0.6", *QUICK),
    ])  # fmt: skip
    names = [(method, config.seed) for method, _, config in trained]
    assert names == [(m, s) for s in (0, 1) for m in ("kd+at", "kd+at", "kd", "baseline")]
    options = [config.model_dump() for _, _, config in trained]
    assert [o.get("kd_temperature") for o in options[:4]] == [2, 4, None, None]
    assert [o.get("at_weight") for o in options[:4]] == [50, 50, None, None]
    assert (options[2]["weight"], options[2]["temperature"]) == (0.5, 8)
    assert [o["teacher"] for o in options[:4]] == [("resnet20",)] * 3 + [()]
    assert {o["milestones"] for o in options} == {(0.3, 0.6)}
    assert json.loads(Path("s/sweep.json").read_text())["marked"] == ["2", "marked"]


def test_a_method_without_a_teacher_beside_one_with(trained: Trained) -> None:
    main(["sweep", "baseline", "--lr", "0.1,0.2", "--teacher", "resnet20", "--beside", "kd", *QUICK])
    assert [config.teacher for _, _, config in trained] == [(), (), ("resnet20",)]


def test_a_set_up_gives_its_options(trained: Trained) -> None:
    setup = ["--setup", "slkd/vgg13-vgg8", "--beside", "dkd"]
    main(["sweep", "kd", "--weight", "0.5,0.9", *setup, "--data", "digits", "--lr", "0.02", *QUICK])
    assert {config.model for _, _, config in trained} == {"vgg8"}
    assert {config.lr for _, _, config in trained} == {0.02}
    assert trained[-1][2].model_dump()["beta"] == 6.0
    trained.clear()
    main(["sweep", "baseline", "--lr", "0.1,0.2", *setup, "--data", "digits", *QUICK])
    assert [config.teacher for _, _, config in trained] == [(), (), ("vgg13",)]


@pytest.mark.parametrize(
    ("method", "given", "option", "values"),
    [
        ("self_guidance", "--detach", "detach", [True, False]),
        ("baseline", "--optimizer", "optimizer", ["sgd", "adamw"]),
        ("baseline", "--clip", "clip", [None, 1.0]),
    ],
)
def test_words_can_be_swept(
    method: str, given: str, option: str, values: list[Any], trained: Trained
) -> None:
    texts = ",".join(str(value) for value in values)
    main(["sweep", method, given, texts, "--out", "s", *QUICK])
    assert [getattr(config, option) for _, _, config in trained] == values


def test_an_option_that_is_required_can_be_swept(trained: Trained) -> None:
    Path("needy.py").write_text(
        "from cohobate import Supervised\n"
        "class Needy(Supervised):\n"
        "    '''Needs a scale.'''\n"
        "    def __init__(self, network, scale: float): super().__init__(network)\n"
    )
    main(["sweep", "needy.py:Needy", "--scale", "1,2", "--out", "s", *QUICK])
    assert [folder for _, folder, _ in trained] == [f"s/needy.py-Needy/scale={v}/seed-0" for v in (1, 2)]


def test_the_minutes_are_those_of_the_whole_sweep(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 600, 60))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    training = TRAINING.model_copy(update={"max_minutes": 3.0})
    with pytest.raises(Stopped, match="the 3 minutes given are over"):
        sweep("baseline", "lr", [0.1, 0.2, 0.3, 0.4], training=training, quiet=True)
    assert [config.max_minutes for _, _, config in trained] == [2.0, 1.0]


def test_a_teacher_that_shares_the_option_is_said(trained: Trained) -> None:
    training = TRAINING.model_copy(update={"teacher": ("resnet20",)})
    shared, _ = sweep("kd", "weight_decay", [0.0, 1e-4], training=training, quiet=True)
    assert any("A teacher that is trained here" in note for note in shared.notes)
    fixed = training.model_copy(update={"teacher_lr": 0.1})
    for option, values in (("lr", [0.1, 0.2]), ("weight", [0.5, 0.9])):
        found, _ = sweep("kd", option, values, training=fixed, quiet=True)
        assert not any("teacher" in note for note in found.notes)


# ---------------------------------------------------------------- what is refused, before anything trains


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["self_guidance"], r"which option is swept\? .* cohobate sweep self_guidance --survival V1,V2,V3"),
        (["baseline", "--lr", "0.1"], r"which option is swept\? .* cohobate sweep baseline --lr V1,V2,V3"),
        (
            ["self_guidance", "--weight", "0.1,1", "--lr=0.1,1"],
            r"one option is swept, but --weight and --lr have several values each",
        ),
        (
            ["self_guidance", "--wieght", "1,2"],
            r"self_guidance has no option 'wieght'; the nearest are weight",
        ),
        (["self_guidance", "--weight", "1,2,x"], r"weight: Input should be a valid number.*\(got 'x'\)"),
        (["self_guidance", "--weight", "1,-2"], r"weight: .* greater than or equal to 0 \(got '-2'\)"),
        (["self_guidance", "--weight", "1,2,"], r"a value of --weight is empty: '1,2,'"),
        (["self_guidance", "--momentum", "0.9,0"], r"nesterov needs momentum above 0"),
        (["baseline", "--milestones", "0.3,0.6"], r"--milestones takes several values itself, so it cannot"),
        (["baseline", "--seed", "0,1"], r"--seeds 0,1,2 trains every value with each seed"),
        (["baseline", "--max-minutes", "1,2"], r"--max-minutes cannot be swept"),
        (["baseline", "--lr", "0.1,0.2", "--mark", "0.3"], r"the value to mark, 0.3, is none of 0.1, 0.2"),
        (["baseline", "--lr", "0.1,0.2", "--beside", "self_guidence"], r"unknown method 'self_guidence'"),
        (["baseline", "--lr", "0.1,0.2", "--teacher", "resnet20"], r"baseline takes no teacher"),
        (["baselin", "--lr", "0.1,0.2"], r"unknown method 'baselin'; the nearest are baseline"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(capsys, "sweep", *arguments, "--device", "cpu")
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sweep("baseline", "lrr", [1, 2]), "baseline has no option 'lrr'; the nearest are lr"),
        (lambda: sweep("baseline", "milestones", [(0.5,)]), "takes several values itself"),
        (lambda: sweep("baseline", "lr", []), "--lr has no value"),
        (lambda: sweep("baseline", "lr", [0.1], seeds=()), "at least one seed"),
        (lambda: sweep("self_guidance:weight=1", "weight", [1, 2]), "weight is swept; leave it out"),
    ],
)
def test_what_is_wrong_is_named_in_python(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    main(["sweep", "--help"])
    assert "cohobate sweep self_guidance --weight 0.01,0.1,1,10 --beside baseline" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "self_guidance", "--help"])
    assert stop.value.code == 0
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    for words in ("lambda of eq. 5", "--beside", "--mark", "separated by commas", "full network teaches"):
        assert words in printed
