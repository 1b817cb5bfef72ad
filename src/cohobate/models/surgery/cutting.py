"""Cuts a network into a trunk and a tail, by its torch.fx graph.

The trunk consists of the nodes that the value at the cut depends on, the tail of all others. The trunk
returns a tuple: the values that the tail uses.

Choices. A stage or other part of the Output that follows from the trunk by functions alone, without a
module (a ReLU, say), is computed in the trunk. Trunk and tail are compared with the uncut network on two
images, in evaluation and in training mode, batch-norm statistics included; a network for which they
differ is refused.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...core import Output, Shape, as_output
from .adapt import Adapted
from .probe import enliven, look, noise
from .recording import Recorder, own, record


def cut(network: nn.Module, at: int | str, shape: Shape) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Trunk (images -> tuple of values) and tail (these values -> Output), with copies of the weights.

    The modules of both have the paths that they have in the network.

    Args:
        network: not changed.
        at: number of stages in the trunk, or path of the module after whose output to cut.
        shape: (C, H, W) of the images on which it is run.

    Raises:
        ValueError: see :func:`cohobate.models.surgery.branch.branch`.
    """
    if isinstance(at, str):
        path, place = _located(network, at, shape), at
    else:
        path, place = None, _numbered(network, at, shape)
    copy = deepcopy(network)
    try:
        recorder = record(copy, path, shape)
        trunk, tail = _split(copy, recorder.graph, _last(recorder, at, path))
        _check_apart(network, trunk, tail)
        _check_same(network, trunk, tail, shape)
    except ValueError as error:
        raise ValueError(f"{title(network)} cannot be cut after {place}: {error}") from error
    return trunk, tail


def title(network: nn.Module) -> str:
    """Name of the network's class; for an adapted network, that of the class inside the adapter."""
    return type(network.network if isinstance(network, Adapted) else network).__name__


def tensors(*parts: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by path; a shared one is listed under each of its paths.

    Unlike state-dict keys, these paths do not depend on :func:`cohobate.core.keep_keys`.
    """
    by_path: dict[str, Tensor] = {}
    for part in parts:
        by_path |= dict(part.named_parameters(remove_duplicate=False))
        by_path |= dict(part.named_buffers(remove_duplicate=False))
    return by_path


@torch.no_grad()
def fill(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into the parameters and buffers of the same paths."""
    for path, tensor in tensors(network).items():
        if path in values:
            tensor.copy_(values[path])


# ---------------------------------------------------------------- where


def stage_names(network: nn.Module, shape: Shape) -> list[str]:
    """Names of the stages: those of an adapted network's modules, else numbers.

    Raises:
        ValueError: the network has no stages.
    """
    count = len(look(network, shape).output.stages)
    if not count:
        raise ValueError(
            f"{title(network)} has no stages to cut after: name a module by its path, or give the network "
            "stages with cohobate.adapt(network, stages=[...])"
        )
    if isinstance(network, Adapted):
        return list(network.stage_names)
    return [f"stage {number}" for number in range(1, count + 1)]


def _numbered(network: nn.Module, at: int, shape: Shape) -> str:
    """The name of the last stage that the trunk keeps."""
    names = stage_names(network, shape)
    if not 1 <= at < len(names):
        valid = f"at goes from 1 to {len(names) - 1}, or" if len(names) > 1 else "at can only be"
        raise ValueError(
            f"at={at}: {title(network)} has {len(names)} stages ({', '.join(names)}), of which the trunk "
            f"keeps the first ones and the tails at least one; {valid} the path of a module"
        )
    return names[at - 1]


def _located(network: nn.Module, at: str, shape: Shape) -> str:
    """The full path of the module ``at``, which must run exactly once."""
    prefix = "network." if isinstance(network, Adapted) else ""
    ran = [call.path for call in look(network, shape).calls if call.path.startswith(prefix) and call.path]
    path = prefix + at
    if path not in ran:
        idle = at and path in dict(network.named_modules())
        why = "does not run by itself" if idle else "does not exist"
        known = sorted({own(network, each) for each in ran})
        near = ", ".join(difflib.get_close_matches(at, known, n=3, cutoff=0.0))
        raise ValueError(
            f"at={at!r}: this module of {title(network)} {why}; the nearest that do are {near or 'none'}"
        )
    if ran.count(path) > 1:
        raise ValueError(
            f"at={at!r}: this module of {title(network)} runs {ran.count(path)} times in a pass, so it is "
            "no single place; name a module around one of its runs"
        )
    return path


# ---------------------------------------------------------------- splitting


def _last(recorder: Recorder, at: int | str, path: str | None) -> list[fx.Node]:
    """The nodes after which to cut."""
    if path is not None:
        nodes = _nodes(recorder.returned[path])
    else:
        stages = recorder.shown.stages
        nodes = [] if isinstance(stages, fx.Proxy) else _nodes(stages[int(at) - 1])
    if not nodes:
        raise ValueError(
            "its output is not a tensor or a tuple of tensors in the torch.fx graph; name another module"
        )
    return nodes


def _nodes(value: Any) -> list[fx.Node]:
    """The nodes of all proxies in a value."""
    if isinstance(value, fx.Proxy):
        return [value.node]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [node for each in values for node in _nodes(each)]


def _split(
    network: nn.Module, graph: fx.Graph, last: Sequence[fx.Node]
) -> tuple[fx.GraphModule, fx.GraphModule]:
    of_trunk = _trunk_nodes(graph, last)
    crossing = [node for node in graph.nodes if node in of_trunk and not of_trunk.issuperset(node.users)]
    first, rest = fx.Graph(), fx.Graph()
    before: dict[fx.Node, fx.Node] = {}
    after = {node: rest.placeholder(node.name) for node in crossing}
    for node in graph.nodes:
        if node in of_trunk:
            before[node] = first.node_copy(node, before.__getitem__)
        elif node.op != "get_attr" or node.users:
            after[node] = rest.node_copy(node, after.__getitem__)
    first.output(tuple(before[node] for node in crossing))
    trunk, tail = _module(network, first, "Trunk"), _module(network, rest, "Tail")
    for module in tail.modules():
        # All tails read the same values, so no tail may overwrite them.
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return trunk, tail


def _trunk_nodes(graph: fx.Graph, last: Sequence[fx.Node]) -> set[fx.Node]:
    """The nodes that ``last`` depends on, and parts of the Output that follow without a module."""
    *_, shown, output = graph.nodes
    of_trunk = _ancestors([*last, next(iter(graph.nodes))])
    for node in shown.all_input_nodes:
        more = _ancestors([node]) - of_trunk
        if all(each.op in ("call_function", "call_method") for each in more):
            of_trunk |= more
    used, reached = _ancestors([output]), False
    for node in graph.nodes:
        reached |= node in last
        # A node whose result is not used stays with its inputs: the second item of a pair, or an in-place
        # operation before the cut.
        lost = node not in used and node.op.startswith("call_") and of_trunk.issuperset(node.all_input_nodes)
        if lost and (not reached or node.target is operator.getitem):
            of_trunk.add(node)
    return of_trunk


def _ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes and all that they depend on."""
    ancestors: set[fx.Node] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in ancestors:
            ancestors.add(node)
            todo.extend(node.all_input_nodes)
    return ancestors


def _module(network: nn.Module, graph: fx.Graph, name: str) -> fx.GraphModule:
    """A module that runs the graph; a copy, since trunk and tail may share modules without parameters."""
    module = fx.GraphModule(network, graph, name)
    for path, part in module.named_modules():
        part.training = network.get_submodule(path).training
    return deepcopy(module)


# ---------------------------------------------------------------- checking


def _check_apart(network: nn.Module, trunk: fx.GraphModule, tail: fx.GraphModule) -> None:
    """Raises ValueError if trunk and tail share a parameter or buffer, or the tail has no parameters."""
    if not any(True for _ in tail.parameters()):
        raise ValueError("no parameter comes after it, so all tails would be the same; cut earlier")
    known = tensors(network)
    trunks = {id(known[path]) for path in tensors(trunk) if path in known}
    lent = [str(node.target) for node in trunk.graph.output_node().all_input_nodes if node.op == "get_attr"]
    for path in [*tensors(tail), *lent]:
        if path in known and id(known[path]) in trunks:
            holder, _, name = own(network, path).rpartition(".")
            shared = f"module {holder} (its {name})" if holder else f"parameter {name}"
            raise ValueError(
                f"the {shared} is used both before and after the cut, so tails would not be independent; "
                "cut elsewhere"
            )


def _check_same(network: nn.Module, trunk: fx.GraphModule, tail: fx.GraphModule, shape: Shape) -> None:
    """Raises ValueError unless trunk and tail together compute what the network computes."""
    x = noise(network, shape)
    uncut, trunk, tail = deepcopy((network, trunk, tail))
    enliven(uncut)
    for part in (trunk, tail):
        fill(part, tensors(uncut))
    for training in (False, True):
        one, other = _pair(uncut.train(training), trunk.train(training), tail.train(training), x)
        wrong = next(
            (name for name, value in other.items() if name in one and not _same(one[name], value)), ""
        )
        if wrong:
            when = "training" if training else "evaluation"
            raise ValueError(
                f"in {when} mode its {own(network, wrong)} would not be that of the uncut network; code that "
                "depends on self.training belongs in a module of its own (nn.Dropout, not F.dropout)"
            )


def _pair(
    uncut: nn.Module, trunk: nn.Module, tail: nn.Module, x: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs, parameters and buffers of the uncut and of the cut network after one forward pass each."""
    with _same_chance(x):
        expected = as_output(uncut(x.clone()))
    with _same_chance(x):
        values = trunk(x.clone())
        versions = _versions(values)
        output = tail(*values)
    if versions != _versions(values):
        raise ValueError(
            "an in-place operation after it overwrites the trunk's output, which all tails read; replace it"
        )
    return tensors(uncut) | _items(expected), tensors(trunk, tail) | _items(output)


@contextmanager
def _same_chance(x: Tensor) -> Iterator[None]:
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), torch.no_grad():
        torch.manual_seed(0)
        yield


def _versions(values: Sequence[Any]) -> list[int]:
    return [value._version for value in values if isinstance(value, Tensor)]


def _items(output: Output) -> dict[str, Tensor]:
    items = {"logits": output.logits, "pooled": output.pooled}
    items |= {f"stage {i}": stage for i, stage in enumerate(output.stages, 1)}
    items |= {f"preact {i}": preact for i, preact in enumerate(output.preacts or (), 1)}
    return {name: tensor for name, tensor in items.items() if tensor is not None}


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or torch.equal(one, other):
        return one.shape == other.shape
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
