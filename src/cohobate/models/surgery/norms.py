"""The batch norm that produces each stage of a network, determined by a dry pass."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...core import Gate, Shape
from .adapt import Adapted
from .probe import Call, look, same_memory


def stage_norms(network: nn.Module, shape: Shape) -> tuple[_BatchNorm, ...]:
    """The batch norm whose weight and bias determine the distribution of each stage before its last ReLU.

    Its output is the preactivation of the stage. Where no norm's output is, because a residual block adds
    the shortcut, it is the last norm of the stage with an output of that shape: the norm of the last
    block's residual branch.

    Args:
        network: returns :class:`cohobate.Output` with ``preacts``; it is not changed.
        shape: (C, H, W) of the images.

    Returns:
        One for each stage, shallow to deep.

    Raises:
        ValueError: the network has no preacts, or a stage does not come from a single norm (ShuffleNets
            concatenate or shuffle the channels of several).
    """
    seen = look(network, shape)
    stages, preacts = seen.output.stages, seen.output.preacts
    name = type(network.network if isinstance(network, Adapted) else network).__name__
    if not preacts:
        raise ValueError(
            f"{name} does not return its stages before their last ReLU; an adapted network does after "
            "cohobate.give_preacts(network, shape), one of your own returns Output.preacts"
        )
    norms = []
    start = 0
    for number, (stage, preact) in enumerate(zip(stages, preacts, strict=True)):
        end = _first_reader(stage, seen.calls)
        norm = _norm_with_output(preact, seen.calls) or _last_of_shape(preact, seen.calls[start:end])
        if norm is None or norm.weight is None:
            raise ValueError(
                f"{name}: stage {number} before its last ReLU, {tuple(preact.shape[1:])}, comes from no "
                "single batch norm with weight and bias; take another teacher, or measure its margins"
            )
        norms.append(norm)
        start = end
    return tuple(norms)


def _first_reader(stage: Tensor, calls: list[Call]) -> int:
    """Index of the first call whose input is the stage: the calls of the stage itself come before it."""
    readers = (i for i, call in enumerate(calls) if call.inputs and same_memory(call.inputs[0], stage))
    return next(readers, len(calls))


def _norm_with_output(preact: Tensor, calls: list[Call]) -> _BatchNorm | None:
    norms = [c.module for c in calls if isinstance(c.module, _BatchNorm) and same_memory(c.output, preact)]
    return norms[0] if norms else None


def _last_of_shape(preact: Tensor, calls: list[Call]) -> _BatchNorm | None:
    # The norm of a shortcut may run later, but its output is no input of a gate.
    gated = [call.inputs[0] for call in calls if isinstance(call.module, Gate)]
    norms = [c for c in calls if isinstance(c.module, _BatchNorm) and c.output.shape == preact.shape]
    branches = [c for c in norms if any(same_memory(c.output, x) for x in gated)]
    last_norms = [c.module for c in branches or norms if isinstance(c.module, _BatchNorm)]
    return last_norms[-1] if last_norms else None
