"""Published set-ups: their numbers, and what beats them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import fails

from cohobate import cli
from cohobate.commands import outlook
from cohobate.commands.images import read_data
from cohobate.config.groups import Teacher, Training
from cohobate.models.build import build
from cohobate.papers.setups import find_setup, setups
from cohobate.recipes.catalogue import METHODS, TAUGHT, TERMS
from cohobate.recipes.options import for_method, options
from cohobate.recipes.recipe import find

SETUPS = setups()
NETWORKS = sorted(
    {
        network
        for name, setup in SETUPS.items()
        if name.startswith("slkd/")
        for network in (*setup.options["teacher"], setup.options["model"])
    }
)

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
    monkeypatch.setattr(outlook, "show_plan", lambda method, config: seen.append(config))
    return seen


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_can_be_built(name: str) -> None:
    assert build(name, 100).training


@pytest.mark.parametrize("name", [name for name in SETUPS if name.startswith("frskd/")])
def test_the_source_of_a_set_up_says_what_the_paper_does_not_print(name: str) -> None:
    source = find_setup(name).source
    assert source.startswith("FRSKD, table")
    assert "momentum 0.9 without Nesterov's form is of the authors' code" in source


BY_NAME = {
    "self_guidance/fer2013": "fer2013",
    "self_guidance/raf_db": "raf_db",
    "diversity/cinic10": "cinic10",
    "frskd/tiny_imagenet": "tiny_imagenet",
    "frskd/fgvr": "cub200",
    "frskd/imagenet": "imagenet",
    "reskd/tiny_imagenet": "tiny_imagenet",
    "reskd/imagenet": "imagenet",
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_set_up_says_where_to_get_its_images(name: str, tmp_path: Path) -> None:
    values = {**find_setup(name).of("baseline"), "data_root": tmp_path}
    config = options("baseline", for_method("baseline", values))
    message = rf"no {BY_NAME[name]} in {tmp_path}: put .* there, from http.*--data-root"
    with pytest.raises(FileNotFoundError, match=message):
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
    assert bool(taught_by) == (name == "frskd/table-7" or name.startswith(("slkd/", "reskd/"))), (
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
