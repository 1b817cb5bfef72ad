"""The command line: ``cohobate train | compare | sweep | evaluate | report | attention | inspect | list``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from .commands.cli_looking import (
    attention_command,
    evaluate_command,
    inspect_command,
    list_command,
    report_command,
)
from .commands.cli_training import compare_command, sweep_command, train_command

USAGE = """\
usage: cohobate COMMAND ...

Knowledge distillation of vision networks.

  train METHOD      train one method; an interrupted run goes on
  compare [METHOD ...]
                    train several methods over seeds, print and write one table
  sweep METHOD --OPTION V1,V2,...
                    train a method once for each value of an option, draw the error over it
  evaluate RUN      measure a finished run: top-1, top-5, NLL, calibration, each class
  report RUN ...    write the page of a run, or of several runs beside one another
  attention RUN     draw where the networks of a run look, block by block, epoch by epoch
  inspect MODEL     the map of a network: stages, sizes, branch points, gates
  list methods|models|data|setups

`cohobate compare` alone runs a small comparison on real digits in under two minutes.
`cohobate COMMAND --help` explains a command, `cohobate train METHOD --help` a method's options.
"""

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train_command,
    "compare": compare_command,
    "sweep": sweep_command,
    "evaluate": evaluate_command,
    "report": report_command,
    "attention": attention_command,
    "inspect": inspect_command,
    "list": list_command,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one clear line when something given is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("cohobate"))
        return
    command = COMMANDS.get(arguments[0])
    if command is None:
        sys.exit(f"error: unknown command {arguments[0]!r}; there are {', '.join(COMMANDS)}")
    _guarded(command, arguments[1:])


def _guarded(command: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Turn what a user can mend into one line. COHOBATE_TRACEBACK=1 shows where it came from."""
    try:
        command(arguments)
    except Exception as error:
        if os.environ.get("COHOBATE_TRACEBACK"):
            raise
        from .engine.errors import RunError, Stopped

        if isinstance(error, Stopped):
            print(f"{error}", file=sys.stderr)
            sys.exit(error.code)
        if isinstance(error, RunError | ValueError | FileNotFoundError | ImportError):
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
