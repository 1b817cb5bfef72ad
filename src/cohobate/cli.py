"""The command line: ``cohobate train | compare | sweep | evaluate | report | attention | residuals | ...``.

Whatever takes long to import is imported within :func:`main`, so that Ctrl-C ends it with one line from the
first moment on.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

COMMANDS = {
    "train": "train",
    "compare": "compare",
    "sweep": "sweep",
    "evaluate": "evaluate",
    "predict": "predict",
    "bench": "bench",
    "export": "export",
    "report": "report",
    "attention": "attention",
    "residuals": "residuals",
    "inspect": "inspect",
    "list": "listing",
    "doctor": "doctor",
}
"""Command -> its file in ``commands/``, whose ``main`` takes what follows the command."""

USAGE = {
    "train": "METHOD ...",
    "compare": "METHOD ...",
    "sweep": "METHOD --OPTION V1,V2,... ...",
    "evaluate": "RUN",
    "predict": "RUN|FILE IMAGES|FOLDER ...",
    "export": "RUN",
    "bench": "RUN|FILE ...",
    "report": "RUN ...",
    "attention": "RUN",
    "residuals": "RUN ...",
    "inspect": "MODEL",
    "list": "methods|models|data|setups",
    "doctor": "[--data-root FOLDER]",
}
"""Command -> what follows it."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What is wrong where a stream leads to a disk without room, or to one that fails."""

ABOUT = """\
usage: cohobate COMMAND ...

Knowledge distillation of vision networks.
"""

BELOW = """\
`cohobate compare` alone runs a small comparison on real digits in under two minutes.
`cohobate COMMAND --help` explains a command, `cohobate train METHOD --help` a method's options;
`cohobate --version` prints the version.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one clear line when something given is wrong.

    It exits with 130 after Ctrl-C, and with 1 and no word where its output is not read any more.
    """
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the caller: >&-
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115
    try:
        try:
            _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        # Whoever read the output, `head` for example, has seen enough.
        _silence()
        sys.exit(1)
    except OSError as error:
        # Of a stream: an error that has to do with a file names it, and is of a command.
        if error.errno not in FULL or error.filename is not None:
            raise
        _silence()
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run(arguments: list[str]) -> None:
    from functools import partial
    from importlib import import_module

    from .commands.process import run_alone

    name, *rest = arguments or ["--help"]
    if name == "--version":
        from importlib.metadata import version

        print(version("cohobate"))
    elif name in ("-h", "--help"):
        print(_help(), end="")
        sys.exit(0)
    elif name in COMMANDS:
        run_alone(partial(import_module(f".commands.{COMMANDS[name]}", __package__).main, rest))
    else:
        print(f"error: unknown command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    from importlib import import_module

    lines = [ABOUT]
    for name, file in COMMANDS.items():
        about = import_module(f".commands.{file}", __package__).main.__doc__
        lines.append(f"  cohobate {name} {USAGE[name]}\n      {about}")
    return "\n".join([*lines, "", BELOW])


def _silence() -> None:
    """Send what is still to be written, at exit too, nowhere where its reader is gone or its disk is full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(nowhere, stream.fileno())


if __name__ == "__main__":
    main()
