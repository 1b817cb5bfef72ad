"""The machine and the code that runs: processor, cores, commit. No torch here; memory: config.linux.

Files of Linux are read below ``root``. Where a system does not have them, a fact is None or "unknown":
nothing is guessed.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..config.linux import ROOT, fields_of, of_group

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


def processor(root: Path = ROOT) -> Processor:
    """The first processor in ``proc/cpuinfo``."""
    fields = fields_of(root / "proc/cpuinfo")
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


def _quota(root: Path) -> float | None:
    pairs = [text.split() for text in of_group(root, "cpu", "cpu.max")]
    old = (of_group(root, "cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    pairs += [[quota, period] for quota, period in zip(*old, strict=False)]
    limits = [
        int(pair[0]) / int(pair[1])
        for pair in pairs
        if len(pair) == 2 and all(number.isdecimal() and int(number) > 0 for number in pair)
    ]
    return min(limits, default=None)
