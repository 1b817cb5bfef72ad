"""The networks that can be built, and the map of one network."""

from __future__ import annotations

import inspect
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn

from ..analysis.cost import cost
from ..config.extras import install_command
from ..config.grammar import without
from ..config.sizes import Size, size_of
from ..core import Shape, gate_names
from ..models.build import build
from ..models.registry import LIBRARIES, NETWORKS, dense_parts, is_known, parse
from ..models.surgery.adapt import Adapted, made_for
from ..models.surgery.branch import branch_points
from ..models.surgery.probe import look
from ..recipes.networks import make_network
from ..report.tables.terminal import NetworkLine, NetworkMap, StageLine

CIFAR = 32


def built_in(classes: int = 100, image_size: int = CIFAR) -> list[NetworkLine]:
    """Every built-in network with its sizes. Nothing is computed: the tensors have shapes only."""
    shape = (3, image_size, image_size)
    lines = []
    for name, entry in NETWORKS.items():
        with torch.device("meta"):
            network = build(name, classes)
        spent = cost(network, shape)
        options = [option for option in inspect.signature(entry.make).parameters if option != "classes"]
        stages = [stage.shape[1] for stage in network(torch.zeros(2, *shape, device="meta")).stages]
        lines.append(NetworkLine(name, spent.parameters, spent.macs, stages, options, entry.source))
    return lines


def libraries() -> dict[str, str]:
    """The optional libraries: name -> installed version, or how to install it."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = f"{library} {version(library)}"
        except PackageNotFoundError:
            versions[library] = f"not installed: {install_command(library)}"
    return versions


def inspect_network(
    spec: str, classes: int = 100, image_size: int | Size | None = None, channels: int = 3
) -> NetworkMap:
    """Stages, costs, branch points and gates of a network.

    Args:
        spec: as ``--model``.
        classes: K.
        image_size: side in pixels, or (height, width); by default 32, or the input size of a library's
            network.
        channels: of the images.

    Raises:
        ValueError, ImportError: see :func:`cohobate.recipes.networks.make_network`.
    """
    network, shape = _made(without(spec, "weights", "pretrained")[0], classes, image_size, channels)
    output = look(network, shape).output
    dense = output.logits.dim() == 4
    cut = bool(output.stages) and not dense
    points = {point.at: point for point in branch_points(network, shape)} if cut else {}
    names = getattr(network, "stage_names", None) or [f"stages.{i}" for i in range(len(output.stages))]
    lines = []
    for number, (name, stage) in enumerate(zip(names, output.stages, strict=True), 1):
        point = points.get(number)
        sizes, refusal = (point.sizes, point.refusal) if point else (None, None)
        channels, height, width = stage.shape[1:]
        lines.append(StageLine(name, channels, (height, width), shape[1] / height, sizes, refusal))
    spent = cost(network, shape)
    pooled = None if output.pooled is None else output.pooled.shape[1]
    gateless = getattr(network, "gateless", None)
    total = spent.parameters, spent.macs
    return NetworkMap(spec, shape, classes, *total, lines, pooled, _gates(network), gateless, dense)


def _made(spec: str, classes: int, image_size: int | Size | None, channels: int) -> tuple[nn.Module, Shape]:
    name, options = parse(spec)
    inner, _ = dense_parts(name, options) or (name, options)
    if image_size is None and is_known(inner) and ":" in inner:
        network = build(spec, classes)
        shape = made_for(next(m for m in network.modules() if isinstance(m, Adapted)).network)
        if channels == shape[0]:
            return network, shape
        image_size = shape[1:]
    shape = (channels, *size_of(image_size or CIFAR))
    return make_network(spec, classes, shape), shape


def _gates(network: nn.Module) -> list[str]:
    try:
        return [name.removeprefix("network.") for name in gate_names(network)]
    except ValueError:
        return []
