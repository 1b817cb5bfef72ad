"""What a term that remembers images gathers from the processes that train together."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


# An operator of its own, since a compiled graph that sees the collective keeps the process group alive
# to the interpreter's end, where Gloo's threads can abort the process (SIGABRT after a finished run).
@torch.library.custom_op("cohobate::gathered_rows", mutates_args=())
def _gathered_rows(own: Tensor) -> Tensor:
    ranks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(ranks, own)
    return torch.cat(ranks)


@_gathered_rows.register_fake
def _(own: Tensor) -> Tensor:
    return own.new_empty(dist.get_world_size() * own.shape[0], *own.shape[1:])


def of_all_ranks(own: Tensor) -> Tensor:
    """The rows of all processes, concatenated: (B, ...) -> (world x B, ...), without a gradient."""
    own = own.detach().contiguous()
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    rows: Tensor = _gathered_rows(own)
    return rows
