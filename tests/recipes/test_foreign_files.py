"""Files of weights that somebody hands over: their header names a network, and neither code nor files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from handed_over import about
from torch import nn

import cohobate
from cohobate.commands.ready_opened import ready_network
from cohobate.engine.checkpoint import State, write_state
from cohobate.models import libraries
from cohobate.models.build import build
from cohobate.models.registry import INITIAL
from cohobate.recipes.networks import made_of, make_network
from cohobate.recipes.teachers import refuse_foreign

OWN = """
open("was_here", "w").close()
import cohobate
def make(classes):
    return cohobate.build("resnet8", classes)
"""


@pytest.fixture(autouse=True)
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A folder, and a library whose network is resnet8; the options that it was given."""
    options: list[dict[str, Any]] = []

    def create_model(name: str, num_classes: int, **others: Any) -> nn.Module:
        options.append(others)
        return build("resnet8", num_classes)

    fake = SimpleNamespace(list_models=lambda: ["net"], create_model=create_model)
    monkeypatch.setattr(libraries, "_imported", lambda library: fake)
    monkeypatch.chdir(tmp_path)
    return options


def written(model: str, path: str = "net.safetensors", members: Sequence[str] = ()) -> Path:
    """A file of one network's weights with this in its header."""
    network = make_network("resnet8", 3, about().shape)
    record = {**about().model_dump(mode="json"), "model": model, "members": list(members)}
    Path(path).parent.mkdir(exist_ok=True)
    write_state(Path(path), State(network.state_dict(), record))
    return Path(path)


@pytest.mark.parametrize("option", INITIAL)
@pytest.mark.parametrize("form", ["{}=w.pth", " {} ={{file: w.pth}}"])
def test_no_first_weights_are_read(option: str, form: str, given: list[dict[str, Any]]) -> None:
    spec = f"timm:net:{form.format(option)}:depth=2"
    made_of([spec], 3, (3, 16, 16))
    cohobate.load(written(spec))
    ready_network(written(spec))
    assert given == [{"depth": 2}] * 3


@pytest.mark.parametrize(
    "option",
    ["a=x.pth", "a=/x", "a=b/c", "a=http://x.y/z", "a=C:\\x", "a='b c'", "a={b: 1}", "a=[1, b/c]", "a=''"],
)
def test_options_that_may_name_files_are_refused(option: str, given: list[dict[str, Any]]) -> None:
    for open_ in (cohobate.load, ready_network):
        with pytest.raises(ValueError, match=r"net\.safetensors is of .* whose option a is no number and"):
            open_(written(f"timm:net:{option}"))  # type: ignore[operator]
    assert given == []
    cohobate.load("net.safetensors", trust=True)
    assert len(given) == 1


def test_plain_options_are_taken(given: list[dict[str, Any]]) -> None:
    cohobate.load(written("timm:net:a=avg:b=[7, 7]:c=0.5:d:e=null:f=fast-norm"))
    assert given == [{"a": "avg", "b": [7, 7], "c": 0.5, "d": True, "e": None, "f": "fast-norm"}]


@pytest.mark.parametrize(
    ("model", "members"),
    [("own.py:make", ()), ("own.py:make", ("resnet8", "own.py:make")), ("dense:own.py:make", ())],
)
def test_no_code_is_run(model: str, members: Sequence[str]) -> None:
    Path("own.py").write_text(OWN)
    file = written(model, members=members)
    said = []
    for open_ in (cohobate.load, ready_network, lambda path: cohobate.load(path, adaptive=True)):
        with pytest.raises(ValueError, match=rf"^net\.safetensors is of the network {model}, ") as error:
            open_(file)  # type: ignore[no-untyped-call, operator]
        said.append(str(error.value))
    assert len(set(said)) == 1
    with pytest.raises(ValueError, match="trust=True"):
        refuse_foreign(["resnet8", f"{file}:mean=0.5/0.5/0.5:std=0.5/0.5/0.5"])
    assert not Path("was_here").exists()


def test_code_that_is_trusted_is_run() -> None:
    """By the word, or because the file lies in the folder of a run."""
    Path("own.py").write_text(OWN)
    x = torch.randn(2, *about().shape)
    expected = cohobate.load(written("own.py:make"), trust=True)(x)
    of_a_run = written("own.py:make", "run/deployed.safetensors")
    with pytest.raises(ValueError, match="a file does not decide which code is run"):
        cohobate.load(of_a_run)
    Path("run/run.yaml").write_text("")
    refuse_foreign([str(of_a_run)])
    assert cohobate.load(of_a_run)(x).shape == cohobate.load("run")(x).shape == expected.shape
