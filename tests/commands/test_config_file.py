"""``--config FILE``: the run.yaml of a run, or a file written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cohobate.cli import main
from cohobate.config.checking import checked
from cohobate.config.groups import Group

QUICK = ["--epochs", "1", "--train-images", "100", "--batch-size", "50", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(content: dict[str, Any], *arguments: str) -> dict[str, Any]:
    """The options that a run with this file recorded."""
    Path("own.yaml").write_text(yaml.safe_dump(content))
    main([*arguments, "--config", "own.yaml", *QUICK, "--out", "run"])
    return dict(yaml.safe_load(Path("run/run.yaml").read_text()))


def test_own_options_of_another_method_are_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"method": "stochastic_depth", "survival": 0.6, "lr": 0.2}
    recorded = trained(content, "train", "self_guidance")
    assert recorded["lr"] == 0.2
    assert recorded["survival"] != 0.6
    said = capsys.readouterr().err
    assert "note: own.yaml is a run of stochastic_depth, so these options are left out: survival" in said


def test_own_options_of_the_same_method_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = trained({"method": "stochastic_depth", "survival": 0.6}, "train", "stochastic_depth")
    assert recorded["survival"] == 0.6
    assert trained({"method": "stochastic_depth", "survival": 0.6}, "train")["survival"] == 0.6
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lr": -1}, "own.yaml: baseline: lr: Input should be greater than 0"),
        ({"epoch": 1}, "own.yaml: baseline has no option 'epoch'; the nearest are epochs"),
        ({"teacher": "resnet8"}, "own.yaml: baseline takes no teacher; leave --teacher out"),
    ],
)
@pytest.mark.parametrize("command", [["train", "baseline"], ["sweep", "baseline", "--lr", "0.1,0.2"]])
def test_an_error_names_the_file(
    command: list[str], content: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit) as stop:
        main([*command, "--config", "own.yaml", *QUICK])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_one_value_may_stand_alone_where_several_may_stand() -> None:
    recorded = trained({"milestones": 0.5, "keep_epochs": 1}, "train", "baseline")
    assert recorded["milestones"] == [0.5]
    assert recorded["keep_epochs"] == [1]


def test_a_value_alone_stays_alone_where_it_may() -> None:
    class Own(Group):
        several: tuple[str, ...] = ()
        perhaps: tuple[float, ...] | None = None
        either: float | tuple[float, ...] = 1.0

    own = checked("own", Own, {"several": "a", "perhaps": 0.5, "either": 2.0})
    assert (own.several, own.perhaps, own.either) == (("a",), (0.5,), 2.0)
    assert checked("own", Own, {"perhaps": None}).perhaps is None


def test_one_value_in_a_spec() -> None:
    main(["compare", "baseline:milestones=0.3", "--seeds", "0", *QUICK, "--out", "c"])
    (file,) = Path("c").glob("*/seed-0/run.yaml")
    assert yaml.safe_load(file.read_text())["milestones"] == [0.3]
