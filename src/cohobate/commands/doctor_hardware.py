"""Devices, processor, cores and memory, as rows of text."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..config.linux import memory
from ..engine.machine import cores, processor

Rows = Mapping[str, str]
"""What a row is about -> what is so."""


def gpus() -> tuple[tuple[str, ...], str]:
    """The GPUs that torch can use, in words, and what it warned of."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
        found = []
        for index in range(number):
            about = torch.cuda.get_device_properties(index)
            capability = f"capability {about.major}.{about.minor}"
            found.append(f"{about.name}, {amount(about.total_memory)}, {capability}")
    return tuple(found), "; ".join(str(each.message).strip().partition("\n")[0] for each in caught)


def device_rows() -> Rows:
    """Each GPU that torch can use, and what ``--device auto`` takes."""
    import torch

    found, warned = gpus()
    rows = {f"cuda:{index}": name for index, name in enumerate(found)} or {"CUDA": "no GPU"}
    if found:
        rows["cuDNN"] = str(torch.backends.cudnn.version())
    if warned:
        rows["torch warns"] = warned
    rows["MPS"] = "yes" if torch.backends.mps.is_available() else "no"
    rows["--device auto"] = f"takes {'cuda:0' if found else 'cpu'}"
    return rows


def processor_rows() -> Rows:
    """What the processor has, and has not."""
    name, has = processor()
    if has is None:
        return {"name": name, "has": "unknown: this system does not say"}
    rows = {"name": name}
    for title, there in (("has", True), ("has not", False)):
        rows[title] = ", ".join(what for what in has if has[what] is there) or "none of these"
    return rows


def core_rows() -> Rows:
    """The cores, and the threads of torch."""
    import torch

    found = cores()
    return {
        "logical": _or_unknown(found.logical),
        "this process may use": _or_unknown(found.allowed),
        "limit of its group": "none" if found.quota is None else f"the time of {found.quota:g}",
        "threads of torch": f"{torch.get_num_threads()}",
        "load": "unknown" if (busy := load()) is None else f"{busy:.2f} in the last minute",
    }


def load() -> float | None:
    """How many processes were busy in the last minute, on average."""
    with suppress(AttributeError, OSError):
        return os.getloadavg()[0]
    return None


def memory_rows() -> Rows:
    """The memory of the machine."""
    found = memory()
    return {
        "total": _or_unknown(found.total, amount),
        "available": _or_unknown(found.available, amount),
        "limit of its group": "none" if found.limit is None else amount(found.limit),
    }


def _or_unknown(value: int | None, written: Callable[[int], str] = str) -> str:
    return "unknown" if value is None else written(value)


def amount(size: int) -> str:
    """1.5 GiB, 64 MiB, 12 KiB"""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1024:.0f} KiB"
