"""Collective operations, which do nothing in a single process; several are started by ``torchrun``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def pick_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the process's own GPU where there is one, else the CPU.

    Raises:
        ValueError: the device is not on this machine.
    """
    if name == "auto":
        local = os.environ.get("LOCAL_RANK", "0")
        name = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"no device {name!r} here; there is {', '.join(available)}") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the group that ``torchrun`` set up, if it did; leave it at the end.

    Nothing may hold the group after that: its threads would run into the end of the interpreter, where
    they can abort a process that has done all its work. Functions of ``torch.distributed.nn`` have the
    group of the moment of their import as a default argument, and ``torch.compile`` imports them; so
    they are imported while there is none.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    importlib.import_module("torch.distributed.nn")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def broadcast(module: nn.Module) -> None:
    """Copy the parameters and buffers of rank 0 to all ranks."""
    if world() > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)


def average_buffers(module: nn.Module) -> None:
    """Average floating buffers (batch-norm statistics) over ranks, in place."""
    if world() > 1:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= world()


def total(tensor: Tensor) -> Tensor:
    """Sum a tensor over ranks, in place; returns it."""
    if world() > 1:
        dist.all_reduce(tensor)
    return tensor


def totals(sums: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Sum each tensor over ranks, in place; a rank that had nothing to sum, for want of a batch, adds 0."""
    names: dict[str, torch.Size] = {}
    for of_rank in gathered({name: tensor.shape for name, tensor in sums.items()}):
        names |= of_rank
    return {
        name: total(sums[name] if name in sums else torch.zeros(shape, dtype=torch.float64, device=device))
        for name, shape in names.items()
    }


def agreed(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any rank."""
    if world() == 1:
        return flag
    tensor = torch.tensor(float(flag), device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor.item())


def gathered(value: Any) -> list[Any]:
    """The values of all ranks, in the order of the ranks."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    if world() > 1:
        dist.barrier()
