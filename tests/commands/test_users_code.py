"""Errors that code of the user's own raises: a second line says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohobate.cli import main

QUICK = ["--epochs", "1", "--train-images", "100", "--batch-size", "50", "--device", "cpu", "--quiet"]

METHOD = """\
import cohobate
from cohobate.core import as_output, cross_entropy

class Mine(cohobate.Method):
    def __init__(self, network, *, scale: float = 1.0):
        super().__init__()
        if scale > 2:
            raise ValueError(f"scale {scale} is too large")
        self.network, self.scale = network, scale

    def forward(self, batch, turn=0):
        return {"ce": self.inner(batch)}

    def inner(self, batch):
        if self.scale > 1:
            int("x")
        return cross_entropy(as_output(self.network(batch.x)).logits, batch.y)

    def predictors(self):
        return {"network": self.network}

    def readouts(self, x):
        return {"network": as_output(self.network(x)).logits}

def network(classes):
    return cohobate.load_data("nowhere", "data")
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(METHOD)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_an_error_in_a_method_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "train", "mine.py:Mine", "--scale", "1.5", *QUICK)
    assert said[0] == "error: invalid literal for int() with base 10: 'x'"
    assert said[1] == "  in mine.py, line 16, in inner (COHOBATE_TRACEBACK=1 shows all of it)"
    said = fails(capsys, "train", "mine.py:Mine", "--scale", "3", *QUICK)
    assert said[0] == "error: scale 3.0 is too large"
    assert said[1].startswith("  in mine.py, line 8, in __init__ ")


def test_an_error_of_ours_says_where_the_users_code_asked_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, "train", "baseline", "--model", "mine.py:network", *QUICK)
    assert said[1].startswith("  in mine.py, line 26, in network ")


def test_an_error_while_the_file_is_imported_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.py").write_text("x = 1\nfloat('y')\n")
    said = fails(capsys, "train", "broken.py:Mine", *QUICK)
    assert said[1].startswith("  in broken.py, line 2, in <module> ")


def test_an_error_that_is_none_of_the_users_code_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(fails(capsys, "train", "baseline", "--model", "resnet99", *QUICK)) == 1
    assert len(fails(capsys, "train", "mine.py:Other", *QUICK)) == 1
