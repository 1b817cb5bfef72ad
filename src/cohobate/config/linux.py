"""What Linux says of a machine in its files, and how much memory there is. No torch here.

Files are read below ``root``. Where a system does not have them, a fact is None: nothing is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")


class Memory(NamedTuple):
    """Bytes of memory; None where the system does not say, or without a limit.

    Attributes:
        total: of the machine.
        available: that programs can still take.
        limit: that the control group may take.
    """

    total: int | None
    available: int | None
    limit: int | None


def memory(root: Path = ROOT) -> Memory:
    """The memory of the machine and of the control group."""
    fields = fields_of(root / "proc/meminfo")
    total, available = (_kilobytes(fields.get(key, "")) for key in ("MemTotal", "MemAvailable"))
    limits = [
        int(text)
        for file in ("memory.max", "memory.limit_in_bytes")
        for text in of_group(root, "memory", file)
        if text.isdecimal()
    ]
    # Version 1 writes "no limit" as a number that no machine has.
    below = [limit for limit in limits if total is None or limit < total]
    return Memory(total or _pages(), available, min(below, default=None))


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def fields_of(file: Path) -> dict[str, str]:
    """Key -> the first value that a file of ``key : value`` gives it."""
    fields: dict[str, str] = {}
    for line in _text(file).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def of_group(root: Path, controller: str, file: str) -> Iterator[str]:
    """What a file says in the control groups of this process, from the innermost to the outermost.

    In a container the path may be that on its host, of which only the outermost folder is seen.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controller if controllers else "")
        inner = base / path.strip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(base) and (text := _text(folder / file)):
                yield text


def _kilobytes(text: str) -> int | None:
    number = text.removesuffix("kB").strip()
    return int(number) * 1024 if number.isdecimal() else None


def _pages() -> int | None:
    """The memory of the machine where there is no ``proc/meminfo``."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
