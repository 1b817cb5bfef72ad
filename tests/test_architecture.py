"""Rooms import one way only, no two files import each other, and what needs no torch waits for none."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

import pytest

import cohobate

SOURCE = Path(cohobate.__file__).parent
MIDDLE = {"methods", "models", "data", "engine", "inference", "analysis", "tracking"}
ARROWS: dict[str, set[str]] = {
    "config": set(),
    "core": set(),
    **{room: {"core", "config"} for room in MIDDLE},
    "papers": {"config"},
    "runs": {"engine", "core", "config"},
    "recipes": {"methods", "models", "data", "inference", "analysis", "runs", "core", "config"},
    "report": {"runs", "analysis", "core", "config"},
    "commands": {"recipes", "papers", "report", "runs", *MIDDLE, "core", "config"},
    "cli": {"commands", "report", "config"},
    "__init__": {"commands", "recipes", *MIDDLE, "core", "config"},
}
"""Room -> the rooms it may import; ``__init__`` holds the public names."""


class Import(NamedTuple):
    """An import, wherever in a file.

    Attributes:
        module: what is imported, or in what: of ours, the file that defines it.
        typing: whether it is for the type checker alone.
    """

    module: str
    typing: bool


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyi")])
MODULES = {module_of(path) for path in FILES}
PLACE = re.compile(r"[a-z_]+(\.\w+)+:[A-Za-z_]\w*")
"""How the catalogue, and ``PassedOn``, name what is imported when it is needed: ``methods.kd:KD``."""


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


@cache
def imports(path: Path) -> list[Import]:
    """Everything that a file imports, ``from .. import room`` and imports inside of functions too."""
    return list(_imports(path, ast.parse(path.read_text()), typing=False))


def _imports(path: Path, node: ast.AST, typing: bool) -> Iterator[Import]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        typing = True
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, typing) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        package = module_of(path) if path.stem == "__init__" else module_of(path).rpartition(".")[0]
        base = resolve_name("." * node.level + (node.module or ""), package)
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield Import(inner if inner in MODULES else base, typing)
    for child in ast.iter_child_nodes(node):
        yield from _imports(path, child, typing)


def places(path: Path) -> set[str]:
    """Modules that a file names in strings."""
    texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    named = {text.partition(":")[0] for text in texts if isinstance(text, str) and PLACE.fullmatch(text)}
    return {f"cohobate.{module}" for module in named} & MODULES


def ours(path: Path, *, typing: bool) -> set[str]:
    """Files of ours that a file imports, with or without those for the type checker."""
    return {each.module for each in imports(path) if each.module in MODULES and (typing or not each.typing)}


def libraries(folder: str) -> set[str]:
    """Packages that a room imports and that do not come with Python."""
    names = {
        each.module.split(".")[0]
        for path in FILES
        if room(module_of(path)) == folder
        for each in imports(path)
    }
    return names - sys.stdlib_module_names - {"cohobate"}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of the graph, if it has any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# ---------------------------------------------------------------- doors


def test_every_room_has_its_arrows() -> None:
    assert len(FILES) > 150
    assert {room(module) for module in MODULES} <= set(ARROWS)
    assert not circle(ARROWS)


def test_imports_go_one_way() -> None:
    """Imports for the type checker count: who names another room's types knows that room."""
    wrong = {}
    for path in FILES:
        here = room(module_of(path))
        there = ours(path, typing=True) | places(path)
        if through := {module for module in there if room(module) not in {here, *ARROWS[here]}}:
            wrong[module_of(path)] = through
    assert wrong == {}


def test_no_two_files_import_each_other_in_a_circle() -> None:
    """Imports for the type checker do not count: they are never run, so they cannot run in a circle."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(module_of(path), set()).update(ours(path, typing=False) - {module_of(path)})
    assert circle(graph) == []


def test_no_two_rooms_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        here = room(module_of(path))
        there = {room(module) for module in ours(path, typing=True) | places(path)}
        graph.setdefault(here, set()).update(there - {here})
    assert circle(graph) == []


def test_the_rules_see_every_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """\
from .. import engine
from ..engine import loop
if TYPE_CHECKING:
    from ..data.dataset import Dataset
def later():
    import cohobate.report.page
    from cohobate import recipes
METHODS = {"kd": "methods.kd:KD", "words": "not.ours:KD", "option": "kd:weight"}
"""
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path / "cohobate")
    path = tmp_path / "cohobate" / "core" / "made_up.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    always = {"engine", "engine.loop", "report.page", "recipes"}
    assert ours(path, typing=False) == {f"cohobate.{name}" for name in always}
    assert ours(path, typing=True) - ours(path, typing=False) == {"cohobate.data.dataset"}
    assert places(path) == {"cohobate.methods.kd"}
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []


def test_core_needs_torch_and_config_needs_none() -> None:
    assert libraries("core") == {"torch", "annotated_types", "typing_extensions", "lazy_loader"}
    assert "torch" not in libraries("config")


# ---------------------------------------------------------------- size


def test_no_file_is_longer_than_300_lines() -> None:
    lines = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > 300} == {}, "split it by idea"


# ---------------------------------------------------------------- torch

WITHOUT_TORCH = [
    (["--help"], 0, "compare"),
    (["--version"], 0, "."),
    (["train", "self_guidance", "--help"], 0, "--survival"),
    (["train", "kd+at", "--help"], 0, "--at-weight"),
    (["train", "frskd", "--help"], 0, "--features"),
    (["compare", "--help"], 0, "--seeds"),
    (["sweep", "kd", "--help"], 0, "--temperature"),
    (["list", "methods"], 0, "self_guidance"),
    (["list", "data"], 0, "cifar100"),
    (["list", "setups"], 0, "frskd/cifar100"),
    (["evaluate", "--help"], 0, "--split"),
    (["export", "--help"], 0, "--values"),
    (["export", "run", "--format", "pt2", "--opset", "18"], 2, "--format onnx"),
    (["export", "run", "--format", "onx"], 2, "onnx"),
    (["export", "run", "--values", "0-256"], 2, "0-255"),
    (["export", "run", "--adaptive", "--format", "pt2"], 2, "without --adaptive"),
    (["export", "run"], 2, "does not exist"),
    (["predict", "--help"], 0, "--top-k"),
    (["predict", "net.safetensors", "a.png", "--out", "a.txt"], 2, "--format"),
    (["predict", "run", "a.png", "--out", "a.txt"], 2, "run is not there"),
    (["predict", ".", "a.png", "--out", "a.txt"], 2, "not the folder of a run"),
    (["bench", "--help"], 0, "--seconds"),
    (["bench"], 2, "exported files"),
    (["report", "--help"], 0, "folder"),
    (["attention", "--help"], 0, "--epochs"),
    (["residuals", "--help"], 0, "--gi-images"),
    (["inspect", "--help"], 0, "--classes"),
    (["doctor", "--help"], 0, "--data-root"),
    (["train", "kd", "--temprature", "3"], 2, "--temperature"),
    (["train", "kd", "--temperature", "-1"], 2, "greater than 0"),
    (["train", "kd", "--temperature", "8..0"], 2, "both ends"),
    (["train", "kdd"], 2, "kd"),
    (["compare", "--lr", "-1"], 2, "greater than 0"),
    (["train", "kd", "--track", "tensorbord"], 2, "tensorboard"),
    (["trian", "kd"], 2, "train"),
    (["doctor", "--format", "xml"], 2, "json"),
]
"""Command line, its exit status, and a word of what it prints."""

RUN_THEM = """
import contextlib, importlib, io, json, sys
import cohobate
for module in json.loads(sys.argv[2]):
    importlib.import_module(module)
assert "torch" not in sys.modules, "import cohobate, or its configuration, imports torch"
from cohobate.cli import main
for arguments, status, word in json.loads(sys.argv[1]):
    printed, code = io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code or 0
    assert code == status, (arguments, code, printed.getvalue())
    assert word in printed.getvalue(), (arguments, printed.getvalue())
    assert "torch" not in sys.modules, f"{arguments} imports torch"
"""


def test_help_lists_and_mistakes_do_not_wait_for_torch(tmp_path: Path) -> None:
    config = sorted(module for module in MODULES if room(module) == "config")
    (tmp_path / "net.safetensors").touch()
    done = subprocess.run(
        [sys.executable, "-c", RUN_THEM, json.dumps(WITHOUT_TORCH), json.dumps(config)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


# ---------------------------------------------------------------- public names


@pytest.mark.parametrize("package", ["cohobate", "cohobate.core"])
def test_every_public_name_is_there(package: str) -> None:
    room = import_module(package)
    stub = ast.parse(Path(room.__file__ or "").with_suffix(".pyi").read_text())
    written = [alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(room.__all__) == sorted(alias.asname or "" for alias in written)
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = room.nothing
