"""Published set-ups: their numbers, and what beats them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cohobate import cli
from cohobate.commands import outlook
from cohobate.commands.feeds import read_data
from cohobate.config.groups import Teacher, Training
from cohobate.engine.schedule import factor
from cohobate.models.build import build
from cohobate.papers.setups import SETUPS, find_setup
from cohobate.recipes.catalogue import METHODS, TAUGHT, TERMS
from cohobate.recipes.frskd import BETA
from cohobate.recipes.options import for_method, options
from cohobate.recipes.recipe import find

# SLKD, tables 2 and 3: teacher, student, rate; and beta of DKD in the public benchmark, if it has the pair.
PAIRS: dict[tuple[str, str], tuple[float, float | None]] = {
    ("resnet32x4", "resnet8x4"): (0.05, 8.0),
    ("resnet56", "resnet8"): (0.05, None),
    ("wrn_40_2", "wrn_40_1"): (0.05, 6.0),
    ("wrn_40_2", "wrn_16_2"): (0.05, 6.0),
    ("vgg13", "vgg11"): (0.05, None),
    ("vgg13", "vgg8"): (0.05, 6.0),
    ("resnet32x4", "shufflenet_v2"): (0.01, 8.0),
    ("resnet32x4", "shufflenet_v1"): (0.01, 8.0),
    ("resnet50_cifar", "mobilenet_v2"): (0.01, 8.0),
    ("vgg13", "mobilenet_v2"): (0.01, 6.0),
    ("wrn_40_2", "shufflenet_v1"): (0.01, 8.0),
}

# FRSKD, section 4.1: epochs, batch, alpha, beta, epochs at which the rate falls.
FRSKD: dict[str, tuple[int, int, float, float, list[int]]] = {
    "frskd/cifar100": (200, 128, 2.0, 100.0, [100, 150]),
    "frskd/tiny_imagenet": (200, 128, 3.0, 100.0, [100, 150]),
    "frskd/fgvr": (200, 32, 1.0, 200.0, [100, 150]),
    "frskd/imagenet": (90, 256, 1.0, 200.0, [30, 60]),
}

# Methods with an option that no set-up can choose.
ASSISTED = {"takd": {"assistants": ("resnet14",)}, "dgkd": {"assistants": ("resnet14",)}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """The options of every `cohobate train ... --dry-run`, instead of the plan."""
    seen: list[Training] = []
    monkeypatch.setattr(outlook, "show_plan", lambda method, config, own: seen.append(config))
    return seen


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_every_pair_of_slkd_is_there() -> None:
    expected = {f"slkd/{teacher}-{student}" for teacher, student in PAIRS}
    assert len(expected) == 11
    others = {"frskd/table-7", *FRSKD, "diversity/cifar10", "diversity/cifar100"}
    assert SETUPS.keys() == {*expected, *others}


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_set_up_of_ffm_cd(data: str) -> None:
    """Section 4.1 of the diversity paper."""
    for method in ("baseline", "one", "okddip", "gate", "sa", "ffm", "gate_cd", "sa_cd", "ffm_cd"):
        config = options(method, find_setup(f"diversity/{data}").of(method))
        assert (config.data, config.model, config.epochs, config.batch_size) == (data, "resnet32", 300, 128)
        assert (config.optimizer, config.momentum, config.nesterov) == ("sgd", 0.9, True)
        assert (config.lr, config.weight_decay, config.step_factor) == (0.1, 5e-4, 0.1)
        assert [config.epochs * share for share in config.milestones] == [150, 225]
        assert config.val_fraction == 0


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_pair_of_slkd(pair: tuple[str, str]) -> None:
    teacher, student = pair
    rate, beta = PAIRS[pair]
    setup = find_setup(f"slkd/{teacher}-{student}")
    assert "SLKD" in setup.source
    config = options("slkd", setup.of("slkd"))
    assert (config.model, config.teacher, config.data) == (student, (teacher,), "cifar100")
    assert (config.epochs, config.batch_size, config.optimizer, config.momentum) == (240, 64, "sgd", 0.9)
    assert (config.weight_decay, config.nesterov) == (5e-4, False)
    assert (config.schedule, config.step_factor) == ("step", 0.1)
    assert (config.lr, config.teacher_lr, config.teacher_epochs) == (rate, 0.05, None)
    # The whole training set learns, as in the paper.
    assert config.val_fraction == 0
    # Rate of the first step of each epoch, with 782 steps an epoch.
    rates = [config.lr * factor(config, epoch * 782 / (240 * 782)) for epoch in range(240)]
    falls = [epoch for epoch in range(1, 240) if rates[epoch] < rates[epoch - 1]]
    assert falls == [150, 180, 210]
    assert rates[-1] == pytest.approx(rate / 1000)
    dkd = options("dkd", setup.of("dkd"))
    assert dkd.beta in ((beta,) if beta is not None else (2.0, 6.0, 8.0))
    assert (dkd.alpha, dkd.temperature) == (1.0, 4.0)


@pytest.mark.parametrize("name", sorted({name for pair in PAIRS for name in pair}))
def test_the_networks_can_be_built(name: str) -> None:
    assert build(name, 100).training


def test_a_pair_of_frskd() -> None:
    config = options("kd+at", find_setup("frskd/table-7").of("kd+at"))
    assert (config.model, config.teacher, config.data) == ("resnet18_cifar", ("resnet34_cifar",), "cifar100")
    assert (config.epochs, config.batch_size, config.lr, config.weight_decay) == (200, 128, 0.1, 1e-4)
    assert (config.nesterov, config.val_fraction, config.momentum) == (False, 0, 0.9)
    rates = [factor(config, epoch / 200) for epoch in range(200)]
    assert [epoch for epoch in range(1, 200) if rates[epoch] < rates[epoch - 1]] == [100, 150]


@pytest.mark.parametrize("name", FRSKD)
def test_the_set_ups_of_frskd(name: str) -> None:
    """Sections 4.1 and 6; the momentum and Nesterov's form are not printed."""
    epochs, batch, alpha, beta, falls = FRSKD[name]
    config: Any = options("frskd", find_setup(name).of("frskd"))
    assert (config.epochs, config.batch_size) == (epochs, batch)
    assert (config.optimizer, config.lr, config.weight_decay) == ("sgd", 0.1, 1e-4)
    assert (config.momentum, config.nesterov, config.val_fraction) == (0.9, False, 0)
    rates = [factor(config, epoch / epochs) for epoch in range(epochs)]
    assert [epoch for epoch in range(1, epochs) if rates[epoch] < rates[epoch - 1]] == falls
    assert rates[-1] == pytest.approx(0.01)
    # Beta as attention maps get it, which are compared unless told otherwise.
    assert (config.alpha, BETA["at"] if config.beta is None else config.beta) == (alpha, beta)
    assert (config.temperature, config.width, config.features) == (4.0, 2.0, "at")
    # Mixup and CutMix (table 8) are the user's to add.
    assert (config.mixing, config.label_smoothing) == ("none", 0)


def test_the_data_and_networks_of_frskd() -> None:
    small: Any = options("frskd", find_setup("frskd/tiny_imagenet").of("frskd"))
    assert (small.image_size, small.model) == (32, "wrn_16_2:order=frskd")
    setup = find_setup("frskd/cifar100")
    expected = {"data": "cifar100", "model": small.model, "epochs": 200, "batch_size": 128, "lr": 0.1}
    expected |= {"val_fraction": 0.0, "nesterov": False, "weight_decay": 1e-4, "milestones": (0.5, 0.75)}
    assert setup.options == expected
    assert setup.own("frskd") == {}, "beta belongs to what is compared (table 5)"
    for name in ("frskd/fgvr", "frskd/imagenet"):
        large: Any = options("frskd", find_setup(name).of("frskd"))
        assert (large.image_size, large.model) == (224, "torchvision:resnet18")
    for name, weight in (("cifar100", 1.0), ("tiny_imagenet", 1.0), ("fgvr", 3.0)):
        fine: Any = options("cs_kd", find_setup(f"frskd/{name}").of("cs_kd"))
        assert (fine.weight, fine.temperature) == (weight, 4.0)


@pytest.mark.parametrize("name", FRSKD)
def test_the_source_of_a_set_up_says_what_the_paper_does_not_print(name: str) -> None:
    source = find_setup(name).source
    assert source.startswith("FRSKD, table")
    assert "momentum 0.9 without Nesterov's form is of the authors' code" in source


@pytest.mark.parametrize("name", ["tiny_imagenet", "fgvr", "imagenet"])
def test_a_set_up_asks_for_the_folder_of_its_images(name: str) -> None:
    config = options("frskd", find_setup(f"frskd/{name}").of("frskd"))
    with pytest.raises(FileNotFoundError, match=rf"no folder \S+/{name}$"):
        read_data(config)


@pytest.mark.parametrize("name", SETUPS)
def test_every_set_up_suits_every_method(name: str) -> None:
    setup = find_setup(name)
    for method in (*sorted(METHODS), "kd+at+crd"):
        given = for_method(method, setup.of(method))
        config = options(method, {**given, **ASSISTED.get(method, {})})
        taught = find(method).needs_teacher
        assert taught == (method in TAUGHT or method in TERMS or "+" in method)
        assert config.teacher == (setup.options.get("teacher", ()) if taught else ())
        own = {
            key: value for key, value in setup.of(method).items() if taught or key not in Teacher.model_fields
        }
        assert all(getattr(config, key) == value for key, value in own.items())
    taught_by = setup.options.get("teacher")
    assert bool(taught_by) == (name == "frskd/table-7" or name.startswith("slkd/")), (
        "for_method() takes nothing out of the set-up itself"
    )


def test_an_unknown_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    message = (
        r"unknown set-up 'slkd/vgg13-vgg9'; the nearest are .*slkd/vgg13-vgg8.*\(`cohobate list setups`\)"
    )
    with pytest.raises(ValueError, match=message):
        find_setup("slkd/vgg13-vgg9")
    error = fails(capsys, "train", "kd", "--setup", "slkd/vgg13-vgg9", "--dry-run")
    assert "error: unknown set-up 'slkd/vgg13-vgg9'; the nearest are" in error
    assert "slkd/vgg13-vgg8" in error


def test_set_ups_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "setups"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in SETUPS)
    assert "epochs=240" in printed
    assert "SLKD, tables 2 and 3: resnet56 to resnet8 on CIFAR-100" in printed


@pytest.mark.parametrize("written", [["--setup", "slkd/resnet56-resnet8"], ["--setup=slkd/resnet56-resnet8"]])
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_flag_beats_a_set_up(planned: list[Training], written: list[str], where: str) -> None:
    flags = ["--data", "digits", "--epochs", "3", "--teacher", "resnet14", "--beta", "5", "--nesterov"]
    arguments = [*written, *flags] if where == "before" else [*flags, *written]
    cli.main(["train", "dkd", *arguments, "--dry-run"])
    (config,) = planned
    assert (config.data, config.epochs, config.teacher) == ("digits", 3, ("resnet14",))
    assert config.beta == 5.0
    assert config.nesterov
    # The rest is the set-up's.
    assert (config.model, config.batch_size, config.lr, config.val_fraction) == ("resnet8", 64, 0.05, 0)
    assert config.milestones == (150 / 240, 180 / 240, 210 / 240)


def test_a_flag_that_says_the_librarys_default_beats_a_set_up(planned: list[Training]) -> None:
    """Given is given, though the value is the default of a run without a set-up."""
    cli.main(["train", "kd", "--setup", "slkd/vgg13-vgg8", "--epochs", "30", "--lr", "0.1", "--dry-run"])
    assert (planned[0].epochs, planned[0].lr, planned[0].batch_size) == (30, 0.1, 64)


def test_a_configuration_beats_a_set_up_and_a_flag_beats_both(planned: list[Training]) -> None:
    given: dict[str, Any] = {"method": "dkd", "epochs": 5, "lr": 0.3, "beta": 3.0, "data": "digits"}
    Path("mine.yaml").write_text(yaml.safe_dump(given))
    setup = ["--config", "mine.yaml", "--setup", "slkd/wrn_40_2-wrn_16_2"]
    cli.main(["train", *setup, "--lr", "0.2", "--dry-run"])
    (config,) = planned
    assert (config.epochs, config.lr, config.beta, config.data) == (5, 0.2, 3.0, "digits")
    assert (config.model, config.teacher, config.batch_size) == ("wrn_16_2", ("wrn_40_2",), 64)


def test_a_method_without_a_teacher_takes_the_rest_of_a_set_up(planned: list[Training]) -> None:
    cli.main(["train", "baseline", "--setup", "slkd/vgg13-mobilenet_v2", "--dry-run"])
    (config,) = planned
    assert (config.teacher, config.model, config.lr, config.epochs) == ((), "mobilenet_v2", 0.01, 240)


@pytest.mark.parametrize("method", ["takd", "dgkd"])
def test_what_a_set_up_leaves_open_may_be_a_flag(planned: list[Training], method: str) -> None:
    """Assistants have no default: with a set-up too they are asked for only if no flag names them."""
    arguments = ["--setup", "slkd/resnet56-resnet8", "--assistants", "resnet20,resnet14", "--dry-run"]
    cli.main(["train", method, *arguments])
    (config,) = planned
    assert config.assistants == ("resnet20", "resnet14")
    assert (config.teacher, config.epochs) == (("resnet56",), 240)


def test_a_plan_of_a_set_up_on_small_data(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--data", "digits", "--teacher", "resnet8", "--epochs", "1", "--device", "cpu"]
    cli.main(["train", "dkd", "--setup", "slkd/resnet56-resnet8", *quick, "--dry-run"])
    printed = capsys.readouterr().out
    assert "dkd on digits: the plan" in printed
    assert "teacher resnet8" in printed
    assert "beta=2.0" in printed
    assert "Nothing was written" in printed
    assert not Path("runs").exists()


def test_a_comparison_of_a_set_up() -> None:
    """The baseline takes no teacher, the others do; each takes the set-up's own options."""
    quick = ["--data", "digits", "--teacher", "resnet8", "--epochs", "1", "--train-images", "200"]
    methods = ["compare", "baseline", "dkd", "--setup", "slkd/resnet56-resnet8", *quick]
    cli.main([*methods, "--batch-size", "50", "--device", "cpu", "--seeds", "0", "--quiet", "--out", "both"])
    runs = {path.parent: yaml.safe_load(path.read_text()) for path in Path("both").rglob("run.yaml")}
    found = {config["method"]: config for config in runs.values()}
    assert {"baseline", "dkd"} <= found.keys()
    assert found["dkd"]["teacher"] == ["resnet8"]
    assert found["dkd"]["beta"] == 2.0
    assert not found["baseline"]["teacher"]
    assert all(c["batch_size"] == 50 and c["lr"] == 0.05 and not c["nesterov"] for c in found.values())
    assert all(json.loads((folder / "result.json").read_text())["epochs"] == 1 for folder in runs)
