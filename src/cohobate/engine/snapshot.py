"""Conversion of a phase in training to a checkpoint's tensors and JSON, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..core import Frozen, Method
from . import distributed
from .checkpoint import State, flatten_optimizer, nest_optimizer
from .errors import RunError
from .optim import MovingAverage
from .randomness import random_state, restore
from .standing import Standing


class Moving(NamedTuple):
    """The objects whose state training changes.

    Attributes:
        method: parameters and buffers.
        optimizers: momentum buffers and moments.
        ema: moving average of the method's weights, or None.
        standing: progress of the phase.
    """

    method: Method
    optimizers: list[Optimizer]
    ema: MovingAverage | None
    standing: Standing


def pack(moving: Moving) -> State:
    """The state from which a phase can be resumed; every process must call this function.

    The state is the same on all ranks, and holds the random states of every rank.
    """
    method, optimizers, ema, standing = moving
    tensors = {f"method.{k}": v for k, v in method.state_dict().items()}
    for i, optimizer in enumerate(optimizers):
        tensors |= flatten_optimizer(optimizer.state_dict()["state"], f"optimizer.{i}.")
    if ema is not None:
        tensors |= {f"ema.{k}": v for k, v in ema.average.items()}
    random_tensors, random_facts = random_state()
    own = {f"random.{k}": v for k, v in random_tensors.items()} | _own(method, standing)
    processes = distributed.gathered((own, random_facts))
    for rank, (own, _) in enumerate(processes):
        tensors |= {f"rank.{rank}.{k}": v for k, v in own.items()}
    facts = {
        "phase": standing.name,
        "epoch": standing.epoch,
        "step": standing.step,
        "seconds": standing.seconds,
        "history": standing.history,
        "best": standing.best,
        # The terms in the order in which they are summed, which rounding depends on.
        "terms": list(standing.totals),
        "teachers": fingerprints(method),
        "random": [random_facts for _, random_facts in processes],
    }
    return State(tensors, facts)


def _own(method: Method, standing: Standing) -> dict[str, Tensor]:
    """Tensors that may differ between processes within an epoch, besides their random states."""
    own = {f"totals.{k}": v.cpu() for k, v in standing.totals.items()}
    if distributed.world() > 1:
        own |= {f"buffers.{k}": v.cpu() for k, v in method.named_buffers()}
    return own


def unpack(moving: Moving, state: State, device: torch.device, folder: Path) -> None:
    """Restore the state of a phase.

    Args:
        moving: objects to restore, in place.
        state: result of :func:`pack`.
        device: of the method.
        folder: from which the state was read, for the message.

    Raises:
        RunError: the state belongs to another frozen teacher.
    """
    method, optimizers, ema, standing = moving
    tensors, facts = state
    if facts["teachers"] != fingerprints(method):
        raise RunError(
            f"the frozen teacher of phase {standing.name!r} is not the one that {folder} "
            "began with; give the same teacher, or another --out"
        )
    method.load_state_dict(_under("method.", tensors))
    for i, optimizer in enumerate(optimizers):
        saved = nest_optimizer(tensors, f"optimizer.{i}.")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": saved, "param_groups": groups})
    if ema is not None:
        ema.load(_under("ema.", tensors))
    standing.epoch, standing.step, standing.seconds = facts["epoch"], facts["step"], facts["seconds"]
    standing.history, standing.best = facts["history"], facts["best"]
    rank = distributed.rank() if distributed.rank() < len(facts["random"]) else 0
    own = _under(f"rank.{rank}.", tensors)
    standing.totals = {name: own[f"totals.{name}"].to(device) for name in facts["terms"]}
    for name, value in _under("buffers.", own).items():
        method.get_buffer(name).copy_(value)
    restore(_under("random.", own), facts["random"][rank])


def fingerprints(method: Method) -> list[str]:
    """A digest of each frozen teacher's weights."""
    digests = []
    for module in method.modules():
        if isinstance(module, Frozen):
            digest = hashlib.blake2b(digest_size=16)
            for key, tensor in module.network.state_dict().items():
                digest.update(key.encode())
                digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            digests.append(digest.hexdigest())
    return digests


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: t for key, t in tensors.items() if key.startswith(prefix)}
