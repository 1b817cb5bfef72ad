"""Threads of a process that the operating system lists by name."""

from __future__ import annotations

from pathlib import Path


def group_threads() -> list[str]:
    """Those that a process group keeps; none where the system lists no threads (Linux does)."""
    names = sorted(comm.read_text().strip() for comm in Path("/proc/self/task").glob("*/comm"))
    return [name for name in names if "gloo" in name or "tcpstore" in name]
