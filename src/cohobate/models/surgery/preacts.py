"""Lets an adapted network return its stages before their last ReLU, which some terms compare.

Choices. A dry pass shows what a stage's map was made by. A ReLU that runs as a module: its input is what the
stage was before it; from then on a hook keeps it, and the module no longer works in place. A ReLU that is a
function, at the end of a module's code: that module is replaced by its torch.fx graph, in which the ReLU is a
module. A batch norm, or the sum of a batch norm and the block's input (linear bottlenecks): there is no ReLU,
and the stage is its own ``preact``. Every other end is refused by name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...config.text import first_line
from ...core import Gate, Shape
from .adapt import Adapted, Tap
from .probe import Call, Pass, look, same_memory

FUNCTIONS = {F.relu, F.relu_, torch.relu, torch.relu_}
METHODS = {"relu", "relu_"}
PASSING = (Gate, nn.Identity, nn.Dropout, nn.Dropout2d)
"""Modules after the last layer of a stage that, in evaluation mode and with open gates, change nothing."""


def give_preacts(network: nn.Module, shape: Shape) -> None:
    """Let the adapted networks inside a module return ``preacts``; others stay as they are.

    Parameters and state-dict keys stay as they are too.

    Args:
        network: adapted, or a module around one that is.
        shape: (C, H, W) of the images on which it is run.

    Raises:
        ValueError: the network gives no stages, one of them ends neither in a ReLU nor in a batch norm, or
            its ReLU also runs after it.
    """
    for module in list(network.modules()):
        if isinstance(module, Adapted) and module.preacts is None:
            _give(module, shape)


def _give(adapted: Adapted, shape: Shape) -> None:
    if not adapted.stage_names:
        raise ValueError(
            f"{_title(adapted)} gives no stages, so nothing before their last ReLU; name its modules: "
            "cohobate.adapt(network, stages=[...])"
        )
    seen = look(adapted, shape)
    for name, stage in zip(adapted.stage_names, seen.output.stages, strict=True):
        _as_module(adapted, name, stage, seen, shape)
    seen = look(adapted, shape)
    ends = [
        _end(adapted, name, stage, seen)
        for name, stage in zip(adapted.stage_names, seen.output.stages, strict=True)
    ]
    taps: list[Tap | None] = []
    for relu in ends:
        taps.append(None if relu is None else Tap(relu.path))
        if relu is not None:
            relu.module.inplace = False  # type: ignore[assignment]
            relu.module.register_forward_pre_hook(taps[-1])  # type: ignore[arg-type]
    adapted.preacts = tuple(taps)
    _verify(adapted, look(adapted, shape), [relu.module if relu else None for relu in ends])


def _end(adapted: Adapted, name: str, stage: Tensor, seen: Pass) -> Call | None:
    """The run of the ReLU that made a stage; None for a stage that is linear at its end."""
    makers = _makers(stage, seen)
    relu = next((call for call in makers if isinstance(call.module, nn.ReLU | nn.ReLU6)), None)
    if relu is not None:
        if [call for call in seen.calls if call.module is relu.module][-1] is not relu:
            raise ValueError(
                f"{_title(adapted)}: the ReLU {relu.path} that ends the stage {name!r} also runs after it; "
                "give each stage a ReLU of its own"
            )
        return relu
    if not _is_linear(stage, makers, seen):
        raise ValueError(
            f"{_title(adapted)}: the stage {name!r} ends neither in a ReLU nor in a batch norm, so there is "
            "nothing before a ReLU to compare; take a network of ReLUs, name other stages (cohobate.adapt), "
            "or another term"
        )
    return None


def _makers(stage: Tensor, seen: Pass) -> list[Call]:
    """The runs of modules that returned a stage's map, the innermost first."""
    own = (call for call in seen.calls if call.path and same_memory(call.output, stage))
    # What was overwritten in place was another map when its module returned it.
    return [call for call in own if not call.overwritten]


def _is_linear(stage: Tensor, makers: list[Call], seen: Pass) -> bool:
    """Whether a stage is what a batch norm gave, or the sum of that and the input of its block."""
    first = next((call for call in makers if not isinstance(call.module, PASSING)), None)
    if first is not None and isinstance(first.module, _BatchNorm):
        return True
    norms = [call.output for call in seen.calls if isinstance(call.module, _BatchNorm)]
    gated = [
        call.output
        for call in seen.calls
        if isinstance(call.module, Gate) and any(same_memory(call.inputs[0], norm) for norm in norms)
    ]
    starts = [call.inputs[0] for call in makers if call.inputs and isinstance(call.inputs[0], Tensor)]
    return any(
        branch.shape == start.shape == stage.shape and torch.equal(branch + start, stage)
        for branch in [*norms, *gated]
        for start in starts
    )


def _as_module(adapted: Adapted, name: str, stage: Tensor, seen: Pass, shape: Shape) -> None:
    """Make the ReLU that ends a stage a module, where it is a function in the code of one."""
    makers = _makers(stage, seen)
    if not makers or isinstance(makers[0].module, nn.ReLU | nn.ReLU6) or stage.min() < 0:
        return
    path, block = makers[0].path, makers[0].module
    hooks = [*block._forward_hooks.values(), *block._forward_pre_hooks.values()]
    if type(block).__module__.startswith("torch.nn.modules") or not all(isinstance(h, Tap) for h in hooks):
        return
    try:
        graph = _Leaves().trace(block)
    except Exception as error:  # the block's code ran on proxies: it may raise anything
        raise ValueError(
            f"{_title(adapted)}: the stage {name!r} ends in the code of {path}, which torch.fx cannot trace "
            f"({first_line(error)}); end it in a nn.ReLU module"
        ) from error
    (last,) = graph.output_node().all_input_nodes or (None,)
    if not isinstance(last, fx.Node) or not (last.target in FUNCTIONS or last.target in METHODS):
        return
    _replace(adapted, path, block, graph, last)
    after = look(adapted, shape).output
    if not torch.equal(after.logits, seen.output.logits):
        raise ValueError(
            f"{_title(adapted)}: the code of {path} depends on more than its input; end it in nn.ReLU"
        )


class _Leaves(fx.Tracer):
    """Traces into no child."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _replace(adapted: Adapted, path: str, block: nn.Module, graph: fx.Graph, last: fx.Node) -> None:
    # A copy of a GraphModule loses its hooks, so they go to the module whose output is the block's.
    relu = nn.ReLU()
    relu._forward_hooks.update(block._forward_hooks)
    block.add_module("last_relu", relu)
    with graph.inserting_after(last):
        module = graph.call_module("last_relu", (last.args[0],))
    last.replace_all_uses_with(module)
    graph.erase_node(last)
    traced = fx.GraphModule(block, graph, type(block).__name__)
    traced.training = block.training
    for name, child in block.named_children():
        if name not in dict(traced.named_children()):
            traced.add_module(name, child)
    adapted.set_submodule(path, traced)


def _verify(adapted: Adapted, seen: Pass, relus: list[nn.Module | None]) -> None:
    for name, stage, preact, relu in zip(
        adapted.stage_names, seen.output.stages, seen.output.preacts or (), relus, strict=True
    ):
        if not torch.equal(stage, preact if relu is None else relu(preact.clone())):
            raise ValueError(
                f"{_title(adapted)}: the stage {name!r} is not the ReLU of what it was found to be before it"
            )


def _title(adapted: Adapted) -> str:
    return type(adapted.network).__name__
