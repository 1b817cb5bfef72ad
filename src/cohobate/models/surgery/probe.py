"""A dry pass through a network, which records the modules that ran, in order, with their outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...config.text import first_line
from ...core import Output, Shape, as_output, mode, refuse_wrapped


class WrongImagesError(ValueError):
    """A network that cannot take images of this size."""


@dataclass(frozen=True)
class Call:
    """One run of a module."""

    path: str
    module: nn.Module
    inputs: tuple[Any, ...]
    output: Any
    version: int

    @property
    def overwritten(self) -> bool:
        """Whether something changed the output in place after the module had returned it."""
        return isinstance(self.output, Tensor) and self.output._version != self.version

    @property
    def map_size(self) -> tuple[int, int] | None:
        """(H, W) of a feature map, None if the output is no feature map."""
        if isinstance(self.output, Tensor) and self.output.dim() == 4:
            return self.output.shape[2], self.output.shape[3]
        return None


@dataclass
class Pass:
    """The modules that ran in one forward pass, and the output.

    Attributes:
        output: of the network.
        calls: in the order in which they ended.
        started: paths in the order in which they began.
    """

    output: Output
    calls: list[Call] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def of(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def once(self) -> dict[str, Call]:
        """The modules that ran exactly once."""
        counts: dict[str, int] = {}
        for call in self.calls:
            counts[call.path] = counts.get(call.path, 0) + 1
        return {call.path: call for call in self.calls if counts[call.path] == 1}


def look(network: nn.Module, shape: Shape, *, training: bool = False) -> Pass:
    """Run two noise images of ``shape`` through the network, and record the pass.

    Running statistics, other buffers, the mode and the random state stay as they were.

    Raises:
        ValueError: the network does not take such images, returns no Output and no tensor, or is wrapped by
            DataParallel.
    """
    refuse_wrapped(network)
    seen = Pass(Output(torch.empty(0)))
    handles = []
    for path, module in network.named_modules():
        watch = _Watch(path, seen)
        handles += [module.register_forward_pre_hook(watch.begin), module.register_forward_hook(watch.end)]
    try:
        images = noise(network, shape)
        cards = [images.device] if images.is_cuda else []
        with mode(network, training), torch.random.fork_rng(devices=cards), torch.no_grad():
            seen.output = _forward(network, images)
    finally:
        for handle in handles:
            handle.remove()
    return seen


class _Watch:
    def __init__(self, path: str, seen: Pass) -> None:
        self.path, self.seen = path, seen

    def begin(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.seen.started.append(self.path)

    def end(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        version = output._version if isinstance(output, Tensor) else 0
        self.seen.calls.append(Call(self.path, module, inputs, output, version))


def noise(network: nn.Module, shape: Shape) -> Tensor:
    """Two images (2, C, H, W), the same in every call, of the device and type of the network's parameters."""
    like = next(network.parameters(), torch.zeros(()))
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


def _forward(network: nn.Module, images: Tensor) -> Output:
    name = type(network).__name__
    # In training mode any buffer may change, not only those of batch norm.
    buffers = {path: buffer.clone() for path, buffer in network.named_buffers(remove_duplicate=False)}
    try:
        return as_output(functional_call(network, buffers, (images,), tie_weights=False))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except (RuntimeError, AssertionError, IndexError, TypeError) as error:
        size = " x ".join(map(str, images.shape[1:]))
        reason = first_line(error)
        raise WrongImagesError(f"{name} does not take images of {size}: {reason}") from error


def same_memory(one: Any, two: Any) -> bool:
    """Whether two tensors are the same memory, perhaps in different shapes."""
    if not isinstance(one, Tensor) or not isinstance(two, Tensor):
        return False
    return one.data_ptr() == two.data_ptr() and one.numel() == two.numel()


@torch.no_grad()
def enliven(network: nn.Module) -> None:
    """Make scales and biases random: a branch whose scale is still zero would hide a difference."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        if parameter.numel() and (parameter.dim() < 2 or parameter.min() == parameter.max()):
            parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
