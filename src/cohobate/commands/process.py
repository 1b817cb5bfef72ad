"""Runs a command as a process of its own: allocator settings, and errors in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ..engine.errors import RunError, Stopped
from ..engine.memory import keep_freed_memory


def run_alone(command: Callable[[], None]) -> None:
    """Run a command; an error that the user can fix, or a stop, exits with one line and a status code.

    COHOBATE_TRACEBACK=1 shows where an error came from.
    """
    keep_freed_memory()
    try:
        command()
    except (Stopped, RunError, ValueError, FileNotFoundError, ImportError) as error:
        if os.environ.get("COHOBATE_TRACEBACK"):
            raise
        before, code = ("", error.code) if isinstance(error, Stopped) else ("error: ", 2)
        print(f"{before}{error}", file=sys.stderr)
        sys.exit(code)
