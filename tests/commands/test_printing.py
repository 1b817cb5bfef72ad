"""Text of the user's, printed as it is; and output that nobody reads any more."""

from __future__ import annotations

import ast
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.table import Table

import cohobate
from cohobate.cli import main
from cohobate.commands.console import show
from cohobate.engine.progress import Display
from cohobate.report.tables.text import escaped, markdown_table

AWKWARD = ["[red]frog", "mark[/]up", "[/red]", ":cat:", "[link=x]y[/link]", "a\\[b]"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


# ---------------------------------------------------------------- brackets


@pytest.mark.parametrize("text", AWKWARD)
def test_a_table_prints_text_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(text, title=f"title {text}", caption=f"caption {text}")
    table.add_row(f"cell {text}")
    show(table)
    show(f"line {text}")
    printed = capsys.readouterr().out
    assert printed.count(text) == 5


@pytest.mark.parametrize("text", AWKWARD)
def test_the_bar_and_its_lines_print_text_as_it_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    display = Display(text)
    assert display.live
    display.console.file = io.StringIO()
    display.say("said")
    display.begin("train", 10, 0)
    display.step(1, "1/2", {text: 0.5}, 100.0)
    display.end()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", display.console.file.getvalue())
    assert f"{text} said" in plain
    assert f"{text} train" in plain
    assert f"{text} 0.500" in plain


def test_classes_and_folders_with_brackets_are_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("[red]frog", "[x]"):
        Path("pets[/]/train", name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(
                Path(f"pets[/]/train/{name}/{i}.png")
            )
    common = ["--data", "pets[/]", "--epochs", "1", "--batch-size", "8", "--device", "cpu", "--quiet"]
    main(["train", "baseline", *common, "--out", "mark[/]up"])
    main(["evaluate", "mark[/]up"])
    printed = capsys.readouterr().out
    assert "baseline on pets[/], resnet8, seed 0" in printed
    assert "mark[/]up, val split" in printed
    assert "error % of [red]frog" in printed


def test_every_console_prints_text_as_it_is() -> None:
    """Whoever adds a console or a column of a bar says that it reads no markup."""
    calls = [
        (path.name, node)
        for path in Path(cohobate.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Console", "TextColumn")
    ]
    assert {name for name, _ in calls} == {"bar.py", "console.py", "progress.py"}
    for name, call in calls:
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("markup") == "False", f"{name}, line {call.lineno}"


def test_markdown_shows_text_as_it_is() -> None:
    assert escaped("[a](http://b)") == r"[a]\(http://b)"
    assert escaped("[95 %]") == "[95 %]"
    assert markdown_table([{"a|b": "c"}], left=("a|b",))[:2] == [r"| a\|b |", "| --- |"]


# ---------------------------------------------------------------- pipes and Ctrl-C

QUICK = ["--epochs", "3", "--train-images", "100", "--batch-size", "50", "--device", "cpu"]


def unread(arguments: list[str], *, err: bool) -> tuple[int, str, str]:
    """A command whose output, and whose errors if wanted, go to a pipe that nobody reads: code and words."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "cohobate.cli", *arguments],
        stdout=writer if not err else subprocess.PIPE,
        stderr=writer if err else subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)
    return process.returncode, process.stdout or "", process.stderr or ""


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["list", "data"], ["train", "baseline", "--help"], ["sweep", "--help"]],
    ids=" ".join,
)
def test_output_that_nobody_reads_ends_without_a_word(arguments: list[str]) -> None:
    assert unread(arguments, err=False) == (1, "", "")


def test_an_error_that_nobody_reads_ends_without_a_traceback() -> None:
    code, out, _ = unread(["evaluate", "nowhere"], err=True)
    assert (code, out) == (1, "")


def test_a_run_goes_on_where_nobody_reads_its_lines() -> None:
    code, out, _ = unread(["train", "baseline", *QUICK, "--out", "run"], err=True)
    assert "page: run/report.html" in out
    assert Path("run/result.json").exists()
    assert code == 0


def test_a_run_whose_table_nobody_reads_is_whole() -> None:
    code, _, err = unread(["train", "baseline", *QUICK, "--quiet", "--out", "run"], err=False)
    assert (code, err) == (1, "")
    assert Path("run/result.json").exists()
    assert Path("run/report.html").exists()


INTERRUPTED = """
import os, runpy, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "tyro":
            os.kill(os.getpid(), signal.SIGINT)

# A shell lets what it runs in the background ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
sys.argv = ["cohobate", "train", "baseline"]
runpy.run_module("cohobate.cli", run_name="__main__")
"""


def test_ctrl_c_while_python_still_imports() -> None:
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.stderr == "interrupted\n"
    assert process.returncode == 128 + signal.SIGINT
