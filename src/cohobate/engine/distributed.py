"""One process or several under ``torchrun``: the few places where it matters."""

from __future__ import annotations

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
    """``auto`` is the process's own GPU where there is one.

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
    """Join the group that ``torchrun`` set up, if it did; leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def broadcast(module: nn.Module) -> None:
    """Parameters and buffers of rank 0, to all."""
    if world() > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), src=0)


def average_buffers(module: nn.Module) -> None:
    """Mean over ranks of the floating buffers: batch-norm statistics, before they are used."""
    if world() > 1:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= world()


def total(tensor: Tensor) -> Tensor:
    """Sum over ranks."""
    if world() > 1:
        dist.all_reduce(tensor)
    return tensor


def agreed(flag: bool, device: torch.device) -> bool:
    """Whether any rank says so."""
    if world() == 1:
        return flag
    tensor = torch.tensor(float(flag), device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor.item())


def gathered(value: Any) -> list[Any]:
    """The value of every rank, in order."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    if world() > 1:
        dist.barrier()
