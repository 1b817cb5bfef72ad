"""Locates the stages and the classifier of a network, and checks the modules that a user names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from torch import Tensor, nn

from .probe import Call, Pass, same_memory

MOST = 4
"""Number of stages by default."""

NUMBERED = re.compile(r"(layer|stage|block|denseblock)s?_?\d+")
"""Children that are stages by their names: torchvision's layer1 ... layer4, and their like."""

POOLING = (
    nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d,
    nn.Flatten, nn.Identity,
)  # fmt: skip
"""Modules that may follow the last layer of a stage and are not part of it."""


@dataclass(frozen=True)
class Levels:
    """The feature levels of a timm network: module names and total strides."""

    names: tuple[str, ...]
    strides: tuple[int, ...]

    def usual(self) -> list[int]:
        """The last four; spread evenly over the blocks where all have one stride."""
        count = len(self.names)
        if len(set(self.strides)) == 1 and count > MOST:
            return [count * (i + 1) // MOST - 1 for i in range(MOST)]
        return list(range(count))[-MOST:]

    def checked(self, numbers: Sequence[int]) -> list[int]:
        wrong = [n for n in numbers if not 0 <= n < len(self.names)]
        if wrong or list(numbers) != sorted(set(numbers)):
            raise ValueError(
                f"stages {list(numbers)}: feature levels go from 0 to {len(self.names) - 1}, shallow to deep "
                f"({', '.join(f'{i} {name}' for i, name in enumerate(self.names))})"
            )
        return list(numbers)


def timm_levels(network: Any) -> Levels | None:
    """The feature levels of a timm network, None if it is none."""
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "forward_head"):
        return None
    info = getattr(network, "feature_info", None) or []
    levels = getattr(info, "info", info)
    if not levels:
        return None
    return Levels(tuple(str(f["module"]) for f in levels), tuple(int(f["reduction"]) for f in levels))


# ---------------------------------------------------------------- finding


def find_stages(network: nn.Module, seen: Pass) -> list[str]:
    """Paths of a convolutional network's stages, at most the last four; empty for other networks.

    The body is the network or, step by step, its child with the most parameters among those that
    give feature maps. Its stages are the outermost numbered children, else the last children before
    each change of resolution.
    """
    bodies = list(_bodies(network, seen))
    for children in bodies:
        numbered = [call.path for call in children if NUMBERED.fullmatch(call.path.rpartition(".")[2])]
        if len(numbered) > 1:
            return numbered[-MOST:]
    longest: list[str] = []
    for children in bodies:
        # Adaptive pooling makes small maps larger, for a classifier.
        if _grows([call.map_size or (0, 0) for call in children if not isinstance(call.module, POOLING)]):
            return []  # channels last, or a decoder: only the user can tell
        longest = max(longest, _ends_of_resolutions(children), key=len)
        if len(longest) > 1:
            return longest[-MOST:]
    tokens = any(isinstance(call.output, Tensor) and call.output.dim() == 3 for call in seen.calls)
    return [] if tokens else longest


def _bodies(network: nn.Module, seen: Pass) -> Iterator[list[Call]]:
    """The children that give feature maps, of the network, of the largest of them, and so on."""
    once = seen.once()
    path = ""
    while True:
        names = set(_children(network.get_submodule(path), f"{path}." if path else "", seen))
        # In the order in which they ran, which need not be that of their definition.
        children = [
            call
            for call in once.values()
            if call.path in names and call.map_size and not same_memory(call.output, seen.output.logits)
        ]
        if not children:
            return
        yield children
        path = max(children, key=lambda call: sum(p.numel() for p in call.module.parameters())).path


def _children(module: nn.Module, prefix: str, seen: Pass) -> Iterator[str]:
    """Paths of the children; a list of modules does not run itself, so its members stand for it."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict) and not seen.of(prefix + name):
            yield from _children(child, f"{prefix}{name}.", seen)
        else:
            yield prefix + name


def _grows(sizes: Sequence[tuple[int, int]]) -> bool:
    return any(h2 > h1 or w2 > w1 for (h1, w1), (h2, w2) in pairwise(sizes))


def _ends_of_resolutions(calls: Sequence[Call]) -> list[str]:
    """The last layer before each change of resolution, pooling left out."""
    ends = []
    for _, group in groupby(calls, key=lambda call: call.map_size):
        layers = [call for call in group if not isinstance(call.module, POOLING)]
        if any(True for call in layers for _ in call.module.parameters()):
            ends.append(layers[-1].path)
    return ends


def find_head(seen: Pass) -> str | None:
    """The linear layer whose output is the logits and whose input is one vector an image."""
    for call in reversed(seen.calls):
        if isinstance(call.module, nn.Linear) and same_memory(call.output, seen.output.logits):
            vector = call.inputs[0].dim() == 2
            return call.path if vector and len(seen.of(call.path)) == 1 else None
    return None


# ---------------------------------------------------------------- checking


def check_head(network: nn.Module, head: str | None, seen: Pass) -> None:
    """Raises ValueError unless the head, if there is one, runs once, on one vector an image."""
    if head is None:
        return
    (call,) = _run_once(network, [head], seen, "head")
    value = call.inputs[0] if call.inputs else None
    if not isinstance(value, Tensor) or value.dim() != 2:
        raise ValueError(
            f"the input of head {head!r} is {_described(value)}, not one vector an image, (B, D)"
        )


def check_stages(network: nn.Module, names: Sequence[str], seen: Pass) -> None:
    """Raises ValueError unless each stage runs once, in this order, and gives a feature map."""
    check_maps(names, [call.output for call in _run_once(network, names, seen, "stage")])


def check_maps(names: Sequence[str], maps: Sequence[object]) -> None:
    """Raises ValueError unless all are (B, C, H, W) and the resolution never grows."""
    for name, value in zip(names, maps, strict=True):
        if not isinstance(value, Tensor) or value.dim() != 4:
            raise ValueError(f"stage {name!r} gives {_described(value)}, not a feature map (B, C, H, W)")
    sizes = [(value.shape[2], value.shape[3]) for value in maps if isinstance(value, Tensor)]
    for (before, one), (after, two) in pairwise(zip(names, sizes, strict=True)):
        if _grows([one, two]):
            raise ValueError(
                f"stages go from shallow to deep, but the resolution grows from {before!r} "
                f"({one[0]} x {one[1]}) to {after!r} ({two[0]} x {two[1]})"
            )


def _run_once(network: nn.Module, names: Sequence[str], seen: Pass, role: str) -> list[Call]:
    """The call of each named module, which must run exactly once; ``role`` is its name in messages."""
    modules = dict(network.named_modules(remove_duplicate=False))
    calls = []
    for name in names:
        if not name or name not in modules:
            near = difflib.get_close_matches(name, [m for m in modules if m], n=3, cutoff=0.0)
            raise ValueError(
                f"{type(network).__name__} has no module {name!r} for a {role}; the nearest are "
                f"{', '.join(near)}"
            )
        ran = [call for call in seen.calls if call.module is modules[name]]
        if not ran:
            raise ValueError(
                f"{role} {name!r} never runs in a pass, so it has no output; name another module"
            )
        if len(ran) > 1:
            raise ValueError(
                f"{role} {name!r} runs {len(ran)} times in a pass: it is shared, so it is no single place; "
                "name a module around one of its runs"
            )
        calls.append(ran[0])
    if len({id(call.module) for call in calls}) < len(calls):
        raise ValueError(f"{', '.join(names)}: two of these names are one module, shared between stages")
    return calls


def _described(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
