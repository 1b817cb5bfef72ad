"""Prepares a phase for its device: settings, memory layout, compilation, DDP; errors of memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..config.groups import Settings
from ..config.words import count
from ..core import Method, Phase
from . import distributed


def phase_settings(settings: Settings, phase: Phase) -> tuple[Settings, Mapping[str, Mapping[str, Any]]]:
    """The run's settings as a phase overrides them, and the overrides of its parameter groups."""
    overrides = dict(phase.settings)
    groups = overrides.pop("groups", {})
    return type(settings).model_validate({**settings.model_dump(), **overrides}), groups


def place(method: nn.Module, device: torch.device, settings: Settings) -> None:
    """Move a method to the device, in the memory layout of the run."""
    channels_last = settings.layout == "channels_last"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    method.to(device=device, memory_format=layout)  # type: ignore[call-overload]


def compile_step(method: Method, replayed: bool) -> None:
    """Compile a method in place, as one graph.

    Args:
        method: any.
        replayed: whether the graph is replayed as a CUDA graph.
    """
    # Each run of a process would count as one more recompilation of the same code.
    torch.compiler.reset()
    options = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True}
    method.compile(fullgraph=True, dynamic=False, options=options if replayed else None)


def in_parallel(method: Method, device: torch.device) -> nn.Module:
    """The method itself in one process, wrapped in DistributedDataParallel in several."""
    if distributed.world() == 1:
        return method
    return DistributedDataParallel(
        method,
        device_ids=[device.index] if device.type == "cuda" else None,
        find_unused_parameters=method.rests,
        broadcast_buffers=False,
    )


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means too little memory: GPU errors have a type of their own, CPU errors a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def smaller_batch(settings: Settings) -> str:
    """The message for a batch that does not fit in memory, with batch sizes to try."""
    size, accumulate = settings.batch_size, settings.accumulate
    return (
        f"out of memory at batch size {size} in {count(accumulate, 'part')}; try --batch-size "
        f"{max(1, size // 2)}, or keep the batch and add --accumulate {2 * accumulate}"
    )
