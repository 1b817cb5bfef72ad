"""Every Python block of the documentation runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_IN_ORDER = {"DEPLOY.md"}
"""Blocks of these pages need those before them: tests/test_deploy_page.py."""
BLOCKS = [
    (page.relative_to(ROOT), number, code)
    for page in PAGES
    if page.name not in RUN_IN_ORDER
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), 1)
]


def test_blocks_are_found() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize(("page", "number", "code"), BLOCKS, ids=[f"{p}-{n}" for p, n, _ in BLOCKS])
def test_block_runs(page: Path, number: int, code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{page}, block {number}:\n{done.stderr[-2000:]}"


def test_commands_of_the_readme_are_commands() -> None:
    """Each `cohobate ...` line of the README parses, whatever it would do."""
    from cohobate.cli import COMMANDS

    lines = re.findall(r"^cohobate (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert lines
    assert set(lines) <= set(COMMANDS)


def test_every_method_stands_in_the_table_of_the_readme() -> None:
    from cohobate.recipes.catalogue import METHODS

    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    names = {name.split()[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert names == set(METHODS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
