"""What there is to choose from, and the map of one network."""

from __future__ import annotations

import inspect
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn

from ..analysis.cost import cost
from ..core import gate_names
from ..models.adapt import made_for
from ..models.branch import branch_points
from ..models.build import LIBRARIES, build, is_known, parse
from ..models.probe import Shape, look
from ..models.registry import NETWORKS
from ..report.terminal import NetworkLine, NetworkMap, StageLine
from .job import make_network, without

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
    """The optional libraries and what is installed of each."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = f"{library} {version(library)}"
        except PackageNotFoundError:
            found[library] = f"not installed: pip install 'cohobate[{library}]'"
    return found


def inspect_network(spec: str, classes: int = 100, image_size: int | None = None) -> NetworkMap:
    """Stages, costs, branch points and gates of a network.

    Args:
        spec: as ``--model``.
        classes: K.
        image_size: side in pixels; by default 32, and for a library's network what it was made for.

    Raises:
        ValueError, ImportError: see :func:`cohobate.recipes.job.make_network`.
    """
    network, shape = _made(without(spec, "weights")[0], classes, image_size)
    output = look(network, shape).output
    points = {point.at: point for point in branch_points(network, shape)}
    names = getattr(network, "stage_names", None) or [f"stages.{i}" for i in range(len(output.stages))]
    lines = []
    for number, (name, stage) in enumerate(zip(names, output.stages, strict=True), 1):
        point = points.get(number)
        sizes = None
        if point is not None and point.refusal is None:
            sizes = (point.trunk_parameters, point.trunk_macs, point.tail_parameters, point.tail_macs)
        refusal = None if point is None else point.refusal
        channels, height, width = stage.shape[1:]
        lines.append(StageLine(name, channels, (height, width), shape[1] / height, sizes, refusal))
    spent = cost(network, shape)
    pooled = None if output.pooled is None else output.pooled.shape[1]
    return NetworkMap(spec, shape, classes, spent.parameters, spent.macs, lines, pooled, *_gates(network))


def _made(spec: str, classes: int, image_size: int | None) -> tuple[nn.Module, Shape]:
    name, _ = parse(spec)
    if image_size is None and is_known(name) and ":" in name:
        network = build(spec, classes)
        return network, made_for(network.get_submodule("network"))
    size = image_size or CIFAR
    return make_network(spec, classes, size), (3, size, size)


def _gates(network: nn.Module) -> tuple[list[str], str | None]:
    try:
        return [name.removeprefix("network.") for name in gate_names(network)], None
    except ValueError as error:
        return [], str(error)
