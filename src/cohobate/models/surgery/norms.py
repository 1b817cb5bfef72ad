"""Which batch norms the stages of a network come from, found by a dry pass."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...core import Gate, Shape
from .probe import Call, look, same_memory


def stage_norms(network: nn.Module, shape: Shape) -> tuple[_BatchNorm, ...]:
    """The batch norm of each stage whose weight and bias tell how the stage is before its last ReLU.

    It is the one that gives those features. Where none does, because a residual block adds to it, it
    is the last one of the stage with their shape: that of the last block's residual branch.

    Args:
        network: returns :class:`cohobate.Output` with ``preacts``; it is left as it was.
        shape: (C, H, W) of the images.

    Returns:
        One for each stage, shallow to deep.

    Raises:
        ValueError: the network has no preacts, or a stage is no single norm's (ShuffleNets put theirs
            together from parts).
    """
    seen = look(network, shape)
    stages, preacts = seen.output.stages, seen.output.preacts
    name = type(network).__name__
    if not preacts:
        raise ValueError(
            f"{name} does not say what its stages are before their last ReLU; take a built-in network "
            "(`cohobate list models`) or give Output.preacts from your own"
        )
    norms = []
    start = 0
    for number, (stage, preact) in enumerate(zip(stages, preacts, strict=True)):
        end = _first_reader(stage, seen.calls)
        norm = _giver(preact, seen.calls) or _last_of_shape(preact, seen.calls[start:end])
        if norm is None or norm.weight is None:
            raise ValueError(
                f"{name}: stage {number} before its last ReLU, {tuple(preact.shape[1:])}, comes from no "
                "single batch norm with weight and bias; take another teacher, or measure what you need"
            )
        norms.append(norm)
        start = end
    return tuple(norms)


def _first_reader(stage: Tensor, calls: list[Call]) -> int:
    """Where the first module comes that was given the stage: all of the stage ran before it."""
    readers = (i for i, call in enumerate(calls) if call.inputs and same_memory(call.inputs[0], stage))
    return next(readers, len(calls))


def _giver(preact: Tensor, calls: list[Call]) -> _BatchNorm | None:
    norms = [c.module for c in calls if isinstance(c.module, _BatchNorm) and same_memory(c.output, preact)]
    return norms[0] if norms else None


def _last_of_shape(preact: Tensor, calls: list[Call]) -> _BatchNorm | None:
    # The norm of a shortcut may run later, but no gate takes what it gives.
    gated = [call.inputs[0] for call in calls if isinstance(call.module, Gate)]
    norms = [c for c in calls if isinstance(c.module, _BatchNorm) and c.output.shape == preact.shape]
    branches = [c for c in norms if any(same_memory(c.output, x) for x in gated)]
    last_norms = [c.module for c in branches or norms if isinstance(c.module, _BatchNorm)]
    return last_norms[-1] if last_norms else None
