"""The machine and the code that runs: processor, cores, memory, commit. No torch here.

Files of Linux are read below ``root``. Where a system does not have them, a fact is None or "unknown":
nothing is guessed.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")

X86: Mapping[str, tuple[str, ...]] = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "AVX-512 bf16": ("avx512_bf16",),
    "AMX bf16": ("amx_bf16",),
    "VNNI (int8)": ("avx512_vnni", "avx_vnni"),
}
ARM: Mapping[str, tuple[str, ...]] = {
    "NEON": ("asimd", "neon"),
    "SVE": ("sve",),
    "SVE2": ("sve2",),
    "bf16": ("bf16",),
    "i8mm (int8)": ("i8mm",),
}
"""What a processor can have -> the words for it in /proc/cpuinfo, one of which must be there."""


class Processor(NamedTuple):
    """The processor.

    Attributes:
        name: as the system gives it; "unknown" where it does not.
        has: what it can have -> whether it does; None where the system does not say.
    """

    name: str
    has: Mapping[str, bool] | None


class Cores(NamedTuple):
    """The logical cores.

    Attributes:
        logical: of the machine; None where the system does not say.
        allowed: on which this process may run; None where the system does not say.
        quota: cores' worth of time that the control group may take; None without a limit.
    """

    logical: int | None
    allowed: int | None
    quota: float | None

    @property
    def usable(self) -> int:
        """How many threads can compute at the same time here."""
        cores = self.allowed or self.logical or 1
        return cores if self.quota is None else max(1, min(cores, int(self.quota)))


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


def processor(root: Path = ROOT) -> Processor:
    """The first processor in ``proc/cpuinfo``."""
    fields = _fields(root / "proc/cpuinfo")
    arm = f"ARM implementer {fields.get('CPU implementer')}, part {fields.get('CPU part')}"
    name = fields.get("model name") or (arm if "CPU part" in fields else platform.processor())
    for key, known in (("flags", X86), ("Features", ARM)):
        if key in fields:
            words = set(fields[key].split())
            return Processor(name or "unknown", {what: not words.isdisjoint(known[what]) for what in known})
    return Processor(name or "unknown", None)


def cores(root: Path = ROOT) -> Cores:
    """The cores of the machine and those that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return Cores(os.cpu_count(), allowed, _quota(root))


def memory(root: Path = ROOT) -> Memory:
    """The memory of the machine and of the control group."""
    fields = _fields(root / "proc/meminfo")
    total, available = (_kilobytes(fields.get(key, "")) for key in ("MemTotal", "MemAvailable"))
    limits = [
        int(text)
        for file in ("memory.max", "memory.limit_in_bytes")
        for text in _of_group(root, "memory", file)
        if text.isdecimal()
    ]
    # Version 1 writes "no limit" as a number that no machine has.
    below = [limit for limit in limits if total is None or limit < total]
    return Memory(total or _pages(), available, min(below, default=None))


def commit() -> str | None:
    """The commit of the source tree that runs; None if it is installed, even inside another repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return None


# ---------------------------------------------------------------- files of Linux


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _fields(file: Path) -> dict[str, str]:
    """Key -> the first value that a file of ``key : value`` gives it."""
    fields: dict[str, str] = {}
    for line in _text(file).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _kilobytes(text: str) -> int | None:
    number = text.removesuffix("kB").strip()
    return int(number) * 1024 if number.isdecimal() else None


def _pages() -> int | None:
    """The memory of the machine where there is no ``proc/meminfo``."""
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_group(root: Path, controller: str, file: str) -> Iterator[str]:
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


def _quota(root: Path) -> float | None:
    pairs = [text.split() for text in _of_group(root, "cpu", "cpu.max")]
    old = (_of_group(root, "cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    pairs += [[quota, period] for quota, period in zip(*old, strict=False)]
    limits = [
        int(pair[0]) / int(pair[1])
        for pair in pairs
        if len(pair) == 2 and all(number.isdecimal() and int(number) > 0 for number in pair)
    ]
    return min(limits, default=None)
