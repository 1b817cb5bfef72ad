"""A network split into one shared trunk and several tails, each a version of its last stages.

:mod:`.cutting` separates trunk and tail, for built-in and for adapted networks alike. A branch is the
trunk and one tail; it is deployed as the network that it was made from.

Choices. The first tail keeps the weights of the network. For each other tail the whole network is
initialised anew, and the tail takes its share of the new weights: ``reset_parameters`` of every module
that has this method runs first, then, for the networks of this package, their own initialisation. The
values of a parameter that neither of the two changes (a bare ``nn.Parameter``, say) are permuted. So
pretrained weights stay in the trunk and in the first tail only, unless ``fresh=False`` copies them to
every tail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils.flop_counter import FlopCounterMode

from ...core import Group, Output, Shape, mode
from ..backbones.resnet import initialise
from .cutting import cut, fill, stage_names, tensors
from .probe import noise

Fresh = bool | Callable[[nn.Module], object]
"""Whether tails get new weights; a function initialises a whole network in place."""


class Branched(Group):
    """A trunk and its tails; made by :func:`branch`.

    Parameters keep the paths of the source network, behind ``trunk.`` or ``tails.0.``, ``tails.1.`` ...

    Attributes:
        trunk: images (B, C, H, W) -> tuple of the values that the tails take.
        tails: each takes those values and returns an :class:`Output`, the trunk's stages included.
        shared: number of stages that the trunk computes.
    """

    def __init__(
        self, trunk: fx.GraphModule, tails: Iterable[fx.GraphModule], source: nn.Module, shared: int = 0
    ) -> None:
        super().__init__()
        self.shared = shared
        self.trunk = trunk
        self.tails = nn.ModuleList(tails)
        self.training = self.tails.training = source.training
        # A tuple hides the source from nn.Module's registration.
        self._source = (source,)

    def __len__(self) -> int:
        return len(self.tails)

    def forward(self, x: Tensor) -> tuple[Output, ...]:
        """(B, C, H, W) -> one Output for each tail; the trunk runs once."""
        values = self.trunk(x)
        return tuple(tail(*values) for tail in self.tails)

    def alone(self, i: int) -> nn.Module:
        """Branch i as a plain network: the class and keys of the source, copies of the branch's weights.

        Raises:
            ValueError: ``i`` is not the number of a tail.
        """
        if not 0 <= i < len(self.tails):
            raise ValueError(f"the tails are numbered from 0 to {len(self.tails) - 1}, got {i}")
        network = deepcopy(self._source[0])
        fill(network, tensors(self.trunk, self.tails[i]))
        return network.train(self.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Branched:
        super()._apply(fn, recurse)
        self._source[0]._apply(fn, recurse)
        return self


class Size(NamedTuple):
    """Number of parameters, and of multiply-accumulates for one image."""

    parameters: int
    macs: int


class Point(NamedTuple):
    """The end of a stage, as a place for :func:`branch` to cut the network.

    Attributes:
        at: number of stages in the trunk.
        stage: name of the last of these stages.
        sizes: of the trunk and of one tail; None where the network cannot be cut.
        refusal: why the network cannot be cut here; None where it can.
    """

    at: int
    stage: str
    sizes: tuple[Size, Size] | None
    refusal: str | None = None


def branch(
    network: nn.Module,
    at: int | str,
    tails: int,
    shape: Shape = (3, 32, 32),
    fresh: Fresh = True,
) -> Branched:
    """A trunk and ``tails`` independent versions of the rest of the network; the network is not changed.

    Args:
        network: built in, adapted, or any other that returns an :class:`Output`.
        at: how many stages the trunk keeps, 1 to all but one; or the path of the module after whose
            output to cut (in an adapted network, the path that the user's own network has for it).
        tails: number of tails, one or more.
        shape: (C, H, W) of the images on which the branched network is compared with ``network``.
        fresh: True: all tails but the first get new weights, drawn from torch's global generator.
            False: they are copies. A function is called once for each of them, with a copy of the
            whole network whose weights it initialises in place.

    Raises:
        ValueError: the network has no stages, or not this stage or module; code that torch.fx must trace
            branches on the values of tensors; a parameter or buffer is used in trunk and tail; the tail
            has no parameters; or the outputs of the cut network differ from those of ``network``.
    """
    if tails < 1:
        raise ValueError(f"a network branches into one tail or more, got tails={tails}")
    trunk, tail = cut(network, at, shape)
    shared = _shared(trunk, tail, noise(network, shape))
    branched = Branched(trunk, [tail, *(deepcopy(tail) for _ in range(tails - 1))], deepcopy(network), shared)
    for other in branched.tails[1:] if fresh else ():
        fill(other, tensors(_redrawn(network, fresh)))
    return branched


def _shared(trunk: nn.Module, tail: nn.Module, images: Tensor) -> int:
    """Number of stages in a tail's Output that the trunk computed."""
    with torch.no_grad(), mode(trunk, False), mode(tail, False):
        values = trunk(images)
        stages = tail(*values).stages
    return sum(any(stage is value for value in values) for stage in stages)


def branch_points(network: nn.Module, shape: Shape = (3, 32, 32)) -> list[Point]:
    """The places where :func:`branch` can cut: the end of every stage but the last.

    Raises:
        ValueError: the network has no stages, or does not take images of ``shape`` = (C, H, W).
    """
    return [_point(network, at, name, shape) for at, name in enumerate(stage_names(network, shape)[:-1], 1)]


def _point(network: nn.Module, at: int, stage: str, shape: Shape) -> Point:
    try:
        trunk, tail = cut(network, at, shape)
    except ValueError as error:
        return Point(at, stage, None, str(error))
    values, size = _measured(trunk, noise(network, shape)[:1])
    return Point(at, stage, (size, _measured(tail, *values)[1]))


def _measured(part: nn.Module, *values: Any) -> tuple[Any, Size]:
    """The output of a part of a network in evaluation mode, and its size.

    The part stays in evaluation mode, and its parameters without gradients.
    """
    # FlopCounterMode fails on a parameter with requires_grad that is an argument of a module.
    part.eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = part(*values)
    parameters = sum(parameter.numel() for parameter in part.parameters())
    return result, Size(parameters, counter.get_total_flops() // 2)


# ---------------------------------------------------------------- weights


@torch.no_grad()
def _redrawn(network: nn.Module, fresh: Fresh) -> nn.Module:
    """A copy of the network with new weights."""
    network = deepcopy(network)
    if callable(fresh):
        fresh(network)
        return network
    before = {path: parameter.clone() for path, parameter in network.named_parameters()}
    # Inner modules first: a module that resets its children too overrides what they drew.
    for module in reversed(list(network.modules())):
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is not None:
            reset()
    if _built_in(network):
        initialise(network)
    for path, parameter in network.named_parameters():
        if torch.equal(parameter, before[path]):
            order = torch.randperm(parameter.numel(), device=parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return network


def _built_in(network: nn.Module) -> bool:
    """Whether the class of the network is defined in ``backbones/``."""
    backbones = initialise.__module__.rpartition(".")[0]
    return type(network).__module__.startswith(f"{backbones}.")
