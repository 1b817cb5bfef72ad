"""Gates on the residual branches of networks that were not written with them.

A gate becomes a child of the module that ends a residual branch (its last norm, or its DropPath), and
a hook sends that module's output through it. Neither adds a key to the state dict. Only gates that
fire in a dry pass stay, and only if a fixed value can be folded into the layer before them.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from copy import deepcopy
from posixpath import relpath
from typing import Any

import torch
from torch import Tensor, nn

from ...core import Gate, Shape, fold, mode, run
from .probe import Pass, enliven, look, noise, same_memory

DROPPED = ("DropPath", "StochasticDepth")
"""Classes of timm and torchvision that end a residual branch."""

ENDS = {
    "BasicBlock": ("bn2",),
    "Bottleneck": ("bn3",),
    "ResBottleneckBlock": ("f",),
    "InvertedResidual": ("conv", "block"),
}
"""torchvision's residual blocks: class -> the child whose output is added to the shortcut."""


class ThroughGate:
    """A hook that sends a module's output through its gate; an object, so that a network's copy copies it."""

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        gated: Tensor = module.get_submodule("gate")(output)
        return gated


def add_gates(network: nn.Module, named: Sequence[str] | None, shape: Shape) -> str | None:
    """Gate the residual branches that end in the ``named`` modules; None: all of known block classes.

    A network with gates of its own is not changed.

    Returns:
        Why the branches of known classes have no gates; None if they have, or if there are none.

    Raises:
        ValueError: a named module does not exist, does not run exactly once or does not end its
            branch, or its gate cannot be folded into the layer before it.
    """
    if any(isinstance(module, Gate) for module in network.modules()):
        return None
    places = _places(network) if named is None else [_existing(network, name) for name in named]
    handles = {path: _attach(network.get_submodule(path)) for path in places}
    seen = look(network, shape)
    fired = _settle(network, seen)
    idle = [path for path in places if path not in fired]
    wrong = _goes_on(seen, fired) or _unfoldable(network, fired, shape)
    for path in places if wrong is not None or (idle and named) else idle:
        handles[path].remove()
        del network.get_submodule(path)._modules["gate"]
    if named and idle:
        raise ValueError(f"gate {idle[0]!r}: the module does not run exactly once in a pass")
    if named and wrong is not None:
        raise ValueError(wrong)
    return wrong


def _places(network: nn.Module) -> list[str]:
    """Paths of the modules that end a residual branch."""
    paths = []
    for path, module in list(network.named_modules()):
        kind, prefix = type(module).__name__, f"{path}." if path else ""
        name = path.rpartition(".")[2]
        if _drops(name, module):
            paths.append(path)
        elif kind in ENDS and vars(module).get("drop_path", False) is None:
            # timm's residual networks have no DropPath where the rate is zero; they call it if it is there.
            module.drop_path = nn.Identity()
            paths.append(f"{prefix}drop_path")
        elif kind in ENDS and not any(_drops(*child) for child in module.named_children()) and _adds(module):
            paths += [prefix + _last(module, end) for end in ENDS[kind] if hasattr(module, end)]
    return paths


def _drops(name: str, module: nn.Module) -> bool:
    return type(module).__name__ in DROPPED or (
        name.startswith("drop_path") and isinstance(module, nn.Identity)
    )


def _adds(block: nn.Module) -> bool:
    """Whether a torchvision block adds its branch to a shortcut: some add only where shapes agree."""
    return bool(getattr(block, "use_res_connect", True))


def _last(block: nn.Module, name: str) -> str:
    """A sequence cannot take a child without running it: the gate goes to its last layer."""
    module = block.get_submodule(name)
    while isinstance(module, nn.Sequential):
        last, module = list(module.named_children())[-1]
        name = f"{name}.{last}"
    return name


def _existing(network: nn.Module, name: str) -> str:
    modules = [path for path, _ in network.named_modules() if path]
    if name not in modules:
        near = difflib.get_close_matches(name, modules, n=3, cutoff=0.0)
        raise ValueError(f"gate {name!r}: no such module; the nearest are {', '.join(near)}")
    return name


def _attach(module: nn.Module) -> Any:
    module.add_module("gate", Gate(affine="."))
    return module.register_forward_hook(ThroughGate())


def _settle(network: nn.Module, seen: Pass) -> list[str]:
    """Give each gate that fired its position and the layer that it scales; return their holders."""
    modules = dict(network.named_modules())
    fired = []
    layer = ""
    for path in seen.started:
        module = modules[path]
        if isinstance(module, Gate):
            holder = path.rpartition(".")[0]
            if seen.started.count(path) == 1 and layer:
                fired.append(holder)
                module.position = len(fired)
                module.affine = relpath(layer.replace(".", "/"), holder.replace(".", "/"))
        elif list(module.parameters(recurse=False)):
            layer = path
    return fired


def _goes_on(seen: Pass, holders: Sequence[str]) -> str | None:
    """Why a holder does not end its branch, None if all do: a module takes its output before it is added."""
    for holder in holders:
        (end,) = seen.of(holder)
        for call in seen.calls:
            tensors = [value for value in call.inputs if isinstance(value, Tensor)]
            if end.overwritten or len(tensors) != 1 or not same_memory(tensors[0], end.output):
                continue
            if not same_memory(call.output, end.output):
                return f"gate {holder!r}: the branch does not end there, {call.path!r} goes on from it"
    return None


def _unfoldable(network: nn.Module, holders: Sequence[str], shape: Shape) -> str | None:
    """Why a gate cannot be folded, None if all can."""
    if not holders or _folds(network, holders, shape):
        return None
    wrong = next((holder for holder in holders if not _folds(network, [holder], shape)), holders[0])
    return (
        f"gate {wrong!r}: scaling the layer before it does not scale the branch (an activation or "
        "attention lies between), so it could not be folded for deployment"
    )


def _folds(network: nn.Module, holders: Sequence[str], shape: Shape) -> bool:
    """Whether gates of one half, and the same folded in, give the same logits."""
    x = noise(network, shape)
    network = deepcopy(network)
    enliven(network)
    gates = {f"{holder}.gate": torch.full_like(x[0, 0, 0, 0], 0.5) for holder in holders}
    folded = fold(network, dict.fromkeys(gates, 0.5))
    with mode(network, training=False), mode(folded, training=False), torch.no_grad():
        one, two = run(network, x, gates=gates).logits, run(folded, x).logits
    return bool(torch.allclose(one, two, rtol=1e-3, atol=1e-4 * float(one.abs().max() + 1e-12)))
