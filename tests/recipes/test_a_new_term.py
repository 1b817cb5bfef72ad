"""A new term is its file and a line in the catalogue: the command line knows the rest."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from zoo import batch, taught

import cohobate.methods
from cohobate.cli import main
from cohobate.config.declared import Source, declaration
from cohobate.recipes import catalogue
from cohobate.recipes.options import options_model, own_group

FILE = '''\
"""Squared distance between powers of the probabilities."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..core import Batch, Output, Term
from ..core.options import Doc, Gt, checked


class Powers(Term):
    """Squared distance between the probabilities of student and teacher, raised to a power."""

    logits_only = True

    @checked
    def __init__(
        self, *, exponent: Annotated[float, Gt(0), Doc("Power of all probabilities.")] = 1.5
    ) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        p = student.logits.softmax(1) ** self.exponent
        q = teacher.logits.detach().softmax(1) ** self.exponent
        return (p - q).square().sum(1).mean()
'''
CACHED = (declaration, Source.of, own_group, options_model)


def forget() -> None:
    for function in CACHED:
        function.cache_clear()


@pytest.fixture(autouse=True)
def new_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The term ``powers``, in a folder of its own that counts as ``methods/``."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "powers.py").write_text(FILE)
    monkeypatch.setattr(cohobate.methods, "__path__", [*cohobate.methods.__path__, str(folder)])
    monkeypatch.setitem(catalogue.TERMS, "powers", "methods.powers:Powers")
    monkeypatch.setitem(catalogue.METHODS, "powers", "methods.powers:Powers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    forget()
    yield
    forget()
    sys.modules.pop("cohobate.methods.powers", None)


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status of a command line, and what it prints."""
    code = 0
    try:
        main(command.split())
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


TINY = "--data digits --train-images 60 --epochs 1 --batch-size 20 --teacher resnet8 --quiet --out run"


def recorded() -> dict[str, object]:
    facts: dict[str, object] = json.loads(Path("run/result.json").read_text())
    return facts


def test_it_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run("list methods", capsys)
    assert code == 0
    row = text[text.index("powers") :].split("├")[0]
    assert all(word in row for word in ("raised", "power"))


def test_help_shows_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run("train powers --help", capsys)
    assert code == 0
    assert "raised to a power. Needs --teacher." in text
    (line,) = (line for line in text.splitlines() if "--exponent " in line)
    assert "Power of all probabilities." in line
    assert "1.5" in line


def test_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(f"train powers --exponent 3 {TINY}", capsys)
    assert code == 0, text
    assert recorded()["label"] == "powers exponent=3.0"
    assert recorded()["options"] == {"exponent": 3.0, "ce_weight": 1.0}


def test_a_sum_prefixes_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(f"train kd+powers --powers-exponent 3 {TINY}", capsys)
    assert code == 0, text
    assert recorded()["label"] == "kd+powers powers_exponent=3.0"
    line = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[0])
    assert {"kd", "powers"} <= set(line["losses"])
    code, text = run("train kd+powers --help", capsys)
    assert "--powers-exponent " in text
    assert "--kd-temperature " in text


@pytest.mark.parametrize(("method", "flag"), [("powers", "--exponent"), ("kd+powers", "--powers-exponent")])
def test_a_value_out_of_range_is_refused_by_name(
    method: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = run(f"train {method} {flag} 0 {TINY}", capsys)
    assert code == 2
    assert f"{flag[2:].replace('-', '_')}: Input should be greater than 0 (got 0.0)" in text
    assert not Path("run").exists()


def test_its_line_in_the_zoo() -> None:
    kind = import_module("cohobate.methods.powers").Powers
    losses = taught(lambda: kind()).make()(batch())
    assert losses.keys() == {"ce", "term"}
    assert all(math.isfinite(loss.detach()) for loss in losses.values())
    with pytest.raises(ValueError, match="exponent must be above 0, got -1"):
        kind(exponent=-1.0)
