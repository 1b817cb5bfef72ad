"""Commands as the documentation has them, and whether the command line accepts them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cohobate import cli
from cohobate.config.groups import Training

FENCED = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(cohobate [^`]+)`")


class Accepted(Exception):
    """A command was parsed, and would now do its work."""


def commands(page: Path, *, inline: bool = False) -> list[list[str]]:
    """The words after ``cohobate`` of each command in the shell blocks of a page, and within its lines."""
    text = page.read_text()
    lines = [line for block in FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line, comments=True) for line in lines + (INLINE.findall(text) if inline else [])]
    return [words[1:] for words in found if words[:1] == ["cohobate"]]


def options_of(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """The options of each run of a command, which is parsed as it would be and does nothing.

    Raises:
        SystemExit: the command line refuses the command.
    """
    seen: list[Training] = []

    def compare(methods: Sequence[str], seeds: Any, training: Training, out: Any, **others: Any) -> Any:
        from cohobate.commands.compare import configure

        seen.extend(configure(spec, training, others["setup"])[1] for spec in methods)
        return SimpleNamespace(diverged={}), []

    def sweep(*arguments: Any, **others: Any) -> Any:
        seen.append(arguments[4])
        return None, []

    def alone(program: str, arguments: Sequence[str], command: Any, about: str) -> Any:
        parsed(program, arguments, command, about)
        raise Accepted

    command, *rest = words
    module: Any = import_module(f"cohobate.commands.{cli.COMMANDS[command]}")
    with monkeypatch.context() as patch:
        if command == "train":
            from cohobate.commands import outlook

            patch.setattr(outlook, "show_plan", lambda method, config: seen.append(config))
            rest = [*rest, "--dry-run"]
        elif command == "compare":
            patch.setattr(module, "compare", compare)
        elif command == "sweep":
            patch.setattr("cohobate.commands.sweeping.sweep", sweep)
        else:
            parsed = module.parsed_alone
            patch.setattr(module, "parsed_alone", alone)
        with suppress(Accepted):
            cli.main([command, *rest])
    return seen
