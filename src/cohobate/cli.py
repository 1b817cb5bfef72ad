"""The command line: ``cohobate train | compare | sweep | evaluate | report | attention | inspect | list``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version

import tyro

from .commands.process import run_alone

COMMANDS = {
    "train": "train",
    "compare": "compare",
    "sweep": "sweep",
    "evaluate": "evaluate",
    "report": "report",
    "attention": "attention",
    "inspect": "inspect",
    "list": "listing",
}
"""Command -> its file in ``commands/``, whose ``main`` takes what follows the command."""

ABOUT = """\
Knowledge distillation of vision networks.

`cohobate compare` alone runs a small comparison on real digits in under two minutes.
`cohobate COMMAND --help` explains a command, `cohobate train METHOD --help` a method's options.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one clear line when something given is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--version"]:
        print(version("cohobate"))
        return
    name, rest = arguments[:1] or ["--help"], arguments[1:]
    if not name[0].startswith("-") and name[0] not in COMMANDS:
        print(f"error: unknown command {name[0]!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    commands = {command: _command(file, rest) for command, file in COMMANDS.items()}
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="cohobate", description=ABOUT, args=name)
    except BrokenPipeError:
        # Whoever read the output, `head` for example, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _command(file: str, arguments: list[str]) -> Callable[[], None]:
    main = import_module(f".commands.{file}", __package__).main

    def command() -> None:
        run_alone(partial(main, arguments))

    command.__doc__ = main.__doc__
    return command


if __name__ == "__main__":
    main()
