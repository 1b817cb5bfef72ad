"""Runs a command as a process of its own: allocator settings, and errors in one line."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

from ..engine.errors import RunError, Stopped
from ..engine.memory import keep_freed_memory

TRACEBACK = "COHOBATE_TRACEBACK"


def run_alone(command: Callable[[], None]) -> None:
    """Run a command; an error that the user can fix, or a stop, exits with one line and a status code.

    A second line says where, if code of the user's own was running. COHOBATE_TRACEBACK=1 shows where any
    error came from.
    """
    keep_freed_memory()
    try:
        command()
    except (Stopped, RunError, ValueError, FileNotFoundError, ImportError) as error:
        if os.environ.get(TRACEBACK):
            raise
        before, code = ("", error.code) if isinstance(error, Stopped) else ("error: ", 2)
        lines = [f"{before}{error}"]
        if (place := users_place(error)) is not None:
            lines.append(f"  in {place} ({TRACEBACK}=1 shows all of it)")
        print("\n".join(lines), file=sys.stderr)
        sys.exit(code)


def users_place(error: BaseException) -> str | None:
    """File, line and function of the user's own code in which an error arose; None if none was running."""
    places = sysconfig.get_paths()
    libraries = (places[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    installed = [Path(__file__).parents[1], *map(Path, libraries)]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if file.is_file() and not any(file.is_relative_to(folder) for folder in installed):
            shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
            return f"{shown}, line {line}, in {frame.f_code.co_name}"
    return None
