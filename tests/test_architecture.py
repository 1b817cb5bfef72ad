"""Rooms import one way only; importing the package costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cohobate

SOURCE = Path(cohobate.__file__).parent
MIDDLE = {"report", "models", "data", "methods", "engine", "inference", "analysis"}
MAY_IMPORT = {
    "core": {"core"},
    **{room: {"core", room} for room in MIDDLE},
    "report": {"core", "report", "analysis"},
    "recipes": {"core", "recipes", *MIDDLE},
    "cli": {"cli", "core", "recipes", *MIDDLE},
    "__init__": {"core", "recipes", *MIDDLE},
}
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of cohobate that a file imports, wherever in the file."""
    package = ["cohobate", *path.relative_to(SOURCE).parts[:-1]]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            targets = [".".join([*base, node.module or ""])]
        elif isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {t.split(".")[1] for t in targets if t.startswith("cohobate.") and t.split(".")[1]}
    return rooms


def test_files_are_found() -> None:
    assert len(FILES) > 30


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    assert imported_rooms(path) <= MAY_IMPORT[room(path)]


@pytest.mark.parametrize("path", sorted((SOURCE / "core").glob("*.py")), ids=lambda path: path.name)
def test_core_imports_only_torch(path: Path) -> None:
    tree = ast.parse(path.read_text())
    froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    modules = {str(n.module).split(".")[0] for n in froms}
    modules |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    standard = {"__future__", "collections", "copy", "functools", "itertools", "posixpath", "typing"}
    standard |= {"lazy_loader"}  # loads this room's names on first use
    assert modules <= {"torch", *standard}


@pytest.mark.parametrize(
    "statement",
    [
        "import cohobate",
        "from cohobate.cli import main; main(['--help'])",
        "from cohobate.recipes.catalogue import options_model; options_model('self_guidance')",
    ],
)
def test_torch_is_not_imported_for_help(statement: str) -> None:
    code = f"import sys\n{statement}\nassert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_public_name_is_there() -> None:
    for name in cohobate.__all__:
        assert getattr(cohobate, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cohobate.nothing
