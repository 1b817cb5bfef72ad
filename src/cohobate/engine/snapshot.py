"""Where a phase stands, as tensors and JSON, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..core import Frozen, Method
from . import distributed
from .checkpoint import State, flatten_optimizer, nest_optimizer
from .errors import RunError
from .randomness import random_state, restore

if TYPE_CHECKING:
    from .loop import Trainer


def pack(trainer: Trainer) -> State:
    """Everything that a phase needs to go on. Every process calls it; the first one has it all."""
    tensors = {f"method.{k}": v for k, v in trainer.method.state_dict().items()}
    for i, optimizer in enumerate(trainer.optimizers):
        tensors |= flatten_optimizer(optimizer.state_dict()["state"], f"optimizer.{i}.")
    if trainer.ema is not None:
        tensors |= {f"ema.{k}": v for k, v in trainer.ema.average.items()}
    random_tensors, random_facts = random_state()
    own = {f"random.{k}": v for k, v in random_tensors.items()} | _own(trainer)
    processes = distributed.gathered((own, random_facts))
    for rank, (own, _) in enumerate(processes):
        tensors |= {f"rank.{rank}.{k}": v for k, v in own.items()}
    facts = {
        "phase": trainer.name,
        "epoch": trainer.epoch,
        "step": trainer.step,
        "seconds": trainer.seconds,
        "history": trainer.history,
        "best": trainer.best,
        # The order of the terms is the order of their sum in the record: kept as it was.
        "terms": list(trainer.totals),
        "teachers": fingerprints(trainer.method),
        "random": [random_facts for _, random_facts in processes],
    }
    return State(tensors, facts)


def _own(trainer: Trainer) -> dict[str, Tensor]:
    """What may differ between processes in the middle of an epoch, besides their random states."""
    own = {f"totals.{k}": v.cpu() for k, v in trainer.totals.items()}
    if distributed.world() > 1:
        own |= {f"buffers.{k}": v.cpu() for k, v in trainer.method.named_buffers()}
    return own


def unpack(trainer: Trainer, state: State) -> None:
    """Put a phase where it stood.

    Raises:
        RunError: it was learning from another frozen teacher.
    """
    tensors, facts = state
    if facts["teachers"] != fingerprints(trainer.method):
        raise RunError(
            f"the frozen teacher of phase {trainer.name!r} is not the one that {trainer.store.folder} "
            "began with; give the same teacher, or another --out"
        )
    trainer.method.load_state_dict(_under("method.", tensors))
    for i, optimizer in enumerate(trainer.optimizers):
        saved = nest_optimizer(tensors, f"optimizer.{i}.")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": saved, "param_groups": groups})
    if trainer.ema is not None:
        trainer.ema.load(_under("ema.", tensors))
    trainer.epoch, trainer.step, trainer.seconds = facts["epoch"], facts["step"], facts["seconds"]
    trainer.history, trainer.best = facts["history"], facts["best"]
    rank = distributed.rank() if distributed.rank() < len(facts["random"]) else 0
    own = _under(f"rank.{rank}.", tensors)
    trainer.totals = {name: own[f"totals.{name}"].to(trainer.device) for name in facts["terms"]}
    for name, value in _under("buffers.", own).items():
        trainer.method.get_buffer(name).copy_(value)
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
