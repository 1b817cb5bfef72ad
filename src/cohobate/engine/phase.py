"""Prepares a phase for its device: settings, memory layout, compilation, DDP; errors of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..config.groups import Settings
from ..config.words import count
from ..core import Batch, Method, Phase
from . import distributed
from .errors import RunError

FEW_CHANNELS = 8
"""Fewer input channels than a vector of AVX2 holds."""


def phase_settings(settings: Settings, phase: Phase) -> tuple[Settings, Mapping[str, Mapping[str, Any]]]:
    """The run's settings as a phase overrides them, and the overrides of its parameter groups."""
    overrides = dict(phase.settings)
    groups = overrides.pop("groups", {})
    return type(settings).model_validate({**settings.model_dump(), **overrides}), groups


def place(
    method: nn.Module,
    device: torch.device,
    settings: Settings,
    say: Callable[[str], None] = lambda line: None,
) -> Settings:
    """Move a method to the device, in the memory layout of the run; the settings with that layout.

    It is contiguous, and ``say`` prints why, where channels_last is asked for and the CPU cannot train the
    method in it (:func:`corrupting`).
    """
    culprit = corrupting(method, device) if settings.layout == "channels_last" else None
    if culprit is not None:
        settings = settings.model_copy(update={"layout": "contiguous"})
        say(
            f"note: {culprit} is a 1x1 convolution that strides and reads fewer than {FEW_CHANNELS} "
            "channels; some CPUs compute its gradient wrongly in channels_last memory, so this phase is "
            "trained as with --layout contiguous"
        )
    channels_last = settings.layout == "channels_last"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    method.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return settings


def corrupting(method: nn.Module, device: torch.device) -> str | None:
    """Path of a convolution whose gradient in channels_last memory corrupts the heap; None without one.

    On a CPU without AVX-512, oneDNN (of torch 2.13) writes beyond a buffer in the backward pass of a 1x1
    convolution that strides and reads few channels: the process ends, or, with two threads, the gradients
    are wrong. Seen with 1 to 6 channels; 7 and more were right, as were convolutions in groups.
    """
    if device.type != "cpu":
        return None
    path: str
    for path, module in method.named_modules():
        if (
            isinstance(module, nn.Conv2d)
            and set(module.kernel_size) == {1}
            and max(module.stride) > 1
            and module.groups == 1
            and module.in_channels < FEW_CHANNELS
        ):
            return str(path)
    return None


def in_layout(batch: Batch, settings: Settings) -> Batch:
    """A batch with its images in contiguous memory, where the layout is that; loaders give channels_last."""
    if settings.layout != "contiguous":
        return batch
    return batch._replace(views=tuple(view.contiguous() for view in batch.views))


def compile_step(method: Method, device: torch.device, replayed: bool) -> None:
    """Compile a method in place, as one graph.

    Args:
        method: any.
        device: that computes.
        replayed: whether the graph is replayed as a CUDA graph.

    Raises:
        RunError: code for the CPU needs a C++ compiler, and there is none.
    """
    if device.type == "cpu":
        _require_compiler()
    # Each run of a process would count as one more recompilation of the same code.
    torch.compiler.reset()
    options = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True}
    method.compile(fullgraph=True, dynamic=False, options=options if replayed else None)


def _require_compiler() -> None:
    """torch would find out in the first step, in hundreds of lines."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise RunError(
            "--compile on needs a C++ compiler, and there is none on the PATH: install g++, or give "
            "--compile off"
        ) from error


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


def synchronised(module: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """A context in which processes average their gradients only after the last micro-batch of an update."""
    if isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return nullcontext()


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
