"""Weights of a file into a network: all of them, or none and the reason.

A file of torchvision or timm has the keys of its network and loads as it is. The teachers that go with
the public CIFAR-100 benchmarks of distillation (Tian, Krishnan, Isola: Contrastive Representation
Distillation, ICLR 2020, and those after it) name the same tensors differently:

    ours                         the benchmarks'
    conv, bn                     conv1, bn1; MobileNetV2: conv1.0, conv1.1
    stages.0.1                   layer1.1; WRN: block1.layer.1; VGG: block0.1
    shortcut                     downsample or shortcut; WRN: convShortcut
    stages.2.5.conv3 (or bn3)    MobileNetV2: blocks.4.1.conv.6 (or .7)
    conv_last, bn_last           conv2, bn2; MobileNetV2: conv2.0, conv2.1
    fc                           fc or linear; VGG: classifier; MobileNetV2: classifier.0

No code in a file is ever run: safetensors, or ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

ENTRIES = ("model", "state_dict", "model_state_dict", "net", "network", "student")
"""Keys under which a file may hold its weights; the first one present is read. Keys of averaged weights
are left out on purpose."""

WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and ``torch.compile`` add to every key."""


class Report(NamedTuple):
    """The result of loading a file of weights.

    Attributes:
        path: the file.
        layout: naming scheme of the file's keys, a key of :data:`LAYOUTS`.
        matched: tensors loaded.
        renamed: key in the file -> key of the network, where they differ.
        kept: batch-norm counters (``num_batches_tracked``) that an old file lacks; the network keeps its own.
    """

    path: Path
    layout: str
    matched: int
    renamed: dict[str, str]
    kept: list[str]

    def __str__(self) -> str:
        renamed = f": {len(self.renamed)} renamed" if self.renamed else ""
        missing = f"; {len(self.kept)} batch-norm counters are not in the file" if self.kept else ""
        return f"loaded {self.matched} tensors of {self.path.name} ({self.layout}{renamed}){missing}"


def load_weights(network: nn.Module, path: Path | str) -> Report:
    """Weights of a file into a network, every one of them.

    Args:
        network: any; it or the network of the file may be wrapped by DataParallel or ``torch.compile``.
        path: ``.safetensors``, or a file of ``torch.save`` with the weights, by themselves or under one
            of :data:`ENTRIES`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, holds Python objects or no weights, or they do not match the
            network, which is as it was.
    """
    path = Path(path)
    file, own = _find(_read(path), path), network.state_dict()
    fits = [fit for name in LAYOUTS if (fit := _fit(name, file, own))]
    best = min(fits, key=lambda fit: fit.wrong)
    if best.wrong:
        raise ValueError(
            f"the weights of {path} do not fit {type(network).__name__} (read as {best.layout}): {_why(best)}"
        )
    source = best.source
    network.load_state_dict({key: file[source[key]] if key in source else own[key] for key in own})
    renamed = {theirs: ours for ours, theirs in source.items() if ours != theirs}
    return Report(path, best.layout, len(file), renamed, kept=[key for key in own if key not in source])


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        if path.suffix == ".safetensors":
            try:
                return load(file.read())
            except SafetensorError as error:
                raise ValueError(f"{path} is truncated or not a safetensors file ({error})") from error
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # bytes that are cut make torch raise almost anything
            if named := re.search(r"GLOBAL (\S+)", str(error)):
                raise ValueError(
                    f"{path} holds Python objects ({named[1]}), which are not loaded: they can run any "
                    "code. Where it was made, torch.save(network.state_dict(), ...) or "
                    "safetensors.torch.save_model(network, ...), and load that"
                ) from error
            reason = str(error).partition(". ")[0] or type(error).__name__
            raise ValueError(f"{path} is truncated or not a file of torch.save ({reason})") from error


def _find(held: Any, path: Path) -> dict[str, Tensor]:
    """The weights among all that a file holds."""
    parts = held if isinstance(held, Mapping) else {}
    for part in (held, *(parts[key] for key in ENTRIES if key in parts)):
        if isinstance(part, Mapping) and part and all(isinstance(v, Tensor) for v in part.values()):
            return {str(key): tensor for key, tensor in part.items()}
    raise ValueError(
        f"{path} holds no weights (names and tensors), by themselves or under {', '.join(ENTRIES)}; "
        f"it holds {', '.join(map(str, [*parts][:8])) or type(held).__name__}: "
        "save the part that you mean in a file of its own"
    )


Rule = tuple[str, str | Callable[[re.Match[str]], str]]

GROUPS = ((0, 0), (0, 1), (1, 0), (2, 0), (2, 4), (3, 0), (3, 3))
"""MobileNetV2: our stage of each of the benchmarks' groups, and the blocks there before it."""


def _stage_from_one(match: re.Match[str]) -> str:
    return f"stages.{int(match[1]) - 1}."


def _inverted_residual(match: re.Match[str]) -> str:
    """Layers 0 to 7 of a block are three times conv, bn, ReLU, without the last ReLU."""
    (stage, before), layer = GROUPS[int(match[1])], int(match[3])
    return f"stages.{stage}.{before + int(match[2])}.{'bn' if layer % 3 else 'conv'}{layer // 3 + 1}."


LAYOUTS: dict[str, tuple[Rule, ...]] = {
    "own keys": (),
    "CIFAR benchmark": (
        (r"^(bn1|conv1\.1)\.", "bn."),
        (r"^(bn2|conv2\.1)\.", "bn_last."),
        (r"^conv1\.(0\.)?", "conv."),
        (r"^conv2\.(0\.)?", "conv_last."),
        (r"^layer(\d+)\.", _stage_from_one),
        (r"^block(\d+)\.layer\.", _stage_from_one),
        (r"^block(\d+)\.", r"stages.\1."),
        (r"^blocks\.([0-6])\.(\d+)\.conv\.([013467])\.", _inverted_residual),
        (r"\.(downsample|convShortcut)\.", ".shortcut."),
        (r"^(linear|classifier)\.(0\.)?", "fc."),
    ),
}
"""Naming scheme -> substitutions that turn its keys into ours, applied one after the other."""


class _Fit(NamedTuple):
    """The keys of a file, renamed from one layout, compared with those of the network."""

    layout: str
    source: dict[str, str]  # key of the network -> key in the file
    missing: list[str]
    unknown: list[str]
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # key -> shape in the file, in the network

    @property
    def wrong(self) -> int:
        return len(self.missing) + len(self.unknown) + len(self.reshaped)


def _fit(layout: str, file: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> _Fit | None:
    theirs, ours = _wrapper(file), _wrapper(own)
    names = {ours + _rename(key.removeprefix(theirs), layout): key for key in file}
    if len(names) < len(file):  # two tensors, one name
        return None
    source = {key: names[key] for key in own if key in names}
    shapes = {key: (tuple(file[source[key]].shape), tuple(own[key].shape)) for key in source}
    return _Fit(
        layout,
        source,
        missing=[key for key in own if key not in names and not key.endswith("num_batches_tracked")],
        unknown=[key for name, key in names.items() if name not in own],
        reshaped={key: pair for key, pair in shapes.items() if pair[0] != pair[1]},
    )


def _wrapper(keys: Collection[str]) -> str:
    wrapper = ""
    while keys and (more := [w for w in WRAPPERS if all(key.startswith(wrapper + w) for key in keys)]):
        wrapper += more[0]
    return wrapper


def _rename(key: str, layout: str) -> str:
    for pattern, replacement in LAYOUTS[layout]:
        key = re.sub(pattern, replacement, key)
    return key


def _why(fit: _Fit) -> str:
    # Were a hidden layer wider, the layer after it would have other inputs.
    classes = {(*a[:1], *b[:1]) if a[1:] == b[1:] else () for a, b in fit.reshaped.values()}
    if len(fit.reshaped) == fit.wrong and len(classes) == 1 and len(pair := classes.pop()) == 2:
        return f"the file predicts {pair[0]} classes, the network {pair[1]}"
    listed = {
        "missing in the file": fit.missing,
        "unknown to the network": fit.unknown,
        "of another shape": [f"{key}: file {a} network {b}" for key, (a, b) in fit.reshaped.items()],
    }
    return "; ".join(f"{len(keys)} {fault} ({', '.join(keys[:3])})" for fault, keys in listed.items() if keys)
