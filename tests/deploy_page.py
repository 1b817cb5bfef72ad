"""docs/DEPLOY.md: its blocks, how each is run, and whether it prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent / "docs" / "DEPLOY.md"
BLOCK = re.compile(r"(?:^<!-- (.*?) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = {"text"}
"""Languages of blocks that are not run: what the block before them prints."""
RUN = {"sh", "python"}

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Missing())
sys.path.insert(0, "")
exec(compile(open({file!r}).read(), {file!r}, "exec"), {{"__name__": "__main__"}})
"""
"""Runs a file as if some libraries were not installed."""


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        marks: of the comment before it: ``file``, under which it is saved; ``without``, libraries that it
            must not need; ``libraries``: it is run with timm, by tests/libraries.
        language: after the fence.
        text: its lines.
    """

    marks: dict[str, str]
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [
        Block(dict(_mark(mark) for mark in marks.split("; ")) if marks else {}, language, text)
        for marks, language, text in BLOCK.findall(page)
    ]


def _mark(text: str) -> tuple[str, str]:
    name, _, value = text.partition(": ")
    return name, value


BLOCKS = blocks(PAGE.read_text(encoding="utf-8"))


def _chosen(*, libraries: bool) -> list[Block]:
    """The blocks that need the libraries, or those that do not, each with what the page shows of it."""
    chosen, take = [], False
    for block in BLOCKS:
        if block.language in RUN:
            take = ("libraries" in block.marks) == libraries
        if take:
            chosen.append(block)
    return chosen


PLAIN, OF_LIBRARIES = _chosen(libraries=False), _chosen(libraries=True)


def ran(block: Block, folder: Path) -> str:
    """What a block prints."""
    if block.language == "sh":
        command = ["bash", "-e", "-o", "pipefail", "-c", block.text]
    else:
        name = block.marks.get("file", "block.py")
        (folder / name).write_text(block.text, encoding="utf-8")
        names = block.marks.get("without", "").split()
        command = [sys.executable, "-W", "error", "-c", WITHOUT.format(names=names, file=name)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout


def says(printed: str, shown: str) -> bool:
    """Whether a block prints what the page shows: word by word, a decimal number for a decimal number."""
    parts = [re.escape(part) for part in re.split(r"(?:\d+\.\d+(?:e[+-]?\d+)?)", " ".join(shown.split()))]
    return re.fullmatch(r"\d+\.\d+(?:e[+-]?\d+)?".join(parts), " ".join(printed.split())) is not None


def run_in_order(blocks: Sequence[Block], folder: Path) -> int:
    """Run blocks one after the other, compare what they print with what the page shows; how many ran."""
    printed, run = "", 0
    for block in blocks:
        if block.language in SHOWN:
            assert says(printed, block.text), f"the page shows\n{block.text}\nbut it prints\n{printed}"
        else:
            printed = ran(block, folder)
            run += 1
    return run
