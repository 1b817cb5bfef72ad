"""Takes the classifier off a network of which only the feature maps are needed.

Choices. What the stages do not depend on is found by a backward pass: every module none of whose parameters
has a gradient, the outermost of them, gives way to the identity. So a backbone has no parameters that never
learn, which would count in its size, decay, and stop training on several devices. Parameters that are frozen
take part in that pass, and are frozen again after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...core import Output, Shape, as_output, mode
from ..surgery.adapt import Adapted
from ..surgery.probe import look, noise


def trim(network: nn.Module, shape: Shape) -> Output:
    """Remove from a network, in place, what its stages do not need; its output for two noise images.

    Args:
        network: images -> Output with stages.
        shape: (C, H, W) of its images.

    Raises:
        ValueError: it gives no stages, or some without a gradient, cannot take such images, or gives other
            stages without its classifier.
    """
    name = type(network.network if isinstance(network, Adapted) else network).__name__
    before = look(network, shape).output
    if not before.stages:
        raise ValueError(
            f"{name} gives no stages for a pyramid; name its modules: cohobate.adapt(network, stages=[...])"
        )
    unused = list(_unused(network, shape))
    if isinstance(network, Adapted):
        network.forget_head()
    for path in unused:
        network.set_submodule(path, nn.Identity())
    after = look(network, shape).output
    if not all(_equal(one, two) for one, two in zip(before.stages, after.stages, strict=True)):
        raise ValueError(f"{name} gives other feature maps without its classifier; it cannot be a backbone")
    return after


def _equal(one: Tensor, two: Tensor) -> bool:
    return one.is_meta or torch.equal(one, two)


@contextmanager
def _thawed(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Inside of it, every parameter has a gradient; afterwards, those that had one before."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _unused(network: nn.Module, shape: Shape) -> Iterator[str]:
    """Paths of the outermost modules on whose parameters no stage depends."""
    parameters = {name: p for name, p in network.named_parameters() if p.is_floating_point()}
    with mode(network, False), torch.enable_grad(), _thawed(parameters.values()):
        stages = as_output(network(noise(network, shape))).stages
        total = torch.stack([stage.sum() for stage in stages]).sum()
        if not total.requires_grad:
            raise ValueError(
                f"{type(network).__name__} computes its stages without gradients, so what only its "
                "classifier needs cannot be told; freeze its parameters by requires_grad_(False), not by "
                "torch.no_grad"
            )
        found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    used = {name for name, gradient in zip(parameters, found, strict=True) if gradient is not None}
    last = None
    for path, module in network.named_modules():
        inside = last is not None and path.startswith(f"{last}.")
        names = [f"{path}.{name}" for name, _ in module.named_parameters()]
        if path and not inside and names and not used.intersection(names):
            last = path
            yield path
