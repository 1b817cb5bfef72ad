"""Gates on residual branches: values for one pass, or folded in for good."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from posixpath import join, normpath

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from .networks import Output, as_output


class Gate(nn.Module):
    """Scales the residual branch that it ends: ``H_l = ReLU(gate(f_l(H)) + H)``.

    Open (and free) unless :func:`run` gives it a value.

    Args:
        affine: where a fixed value can be folded in (:func:`fold`): the layer whose output the gate
            scales, named as seen from the module that holds the gate: ``bn2`` is the gate's sibling,
            ``../bn2`` a sibling of its holder, ``.`` the holder itself.
        position: gates fire in this order; those of equal position in the order of their modules.
    """

    value: Tensor | None

    def __init__(self, affine: str, position: int = 0) -> None:
        super().__init__()
        self.affine = affine
        self.position = position
        self.register_buffer("value", None)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.value is None else x * self.value


def gate_names(network: nn.Module) -> list[str]:
    """Paths of the gates, input to output.

    Raises:
        ValueError: there are none.
    """
    gates = [(name, module) for name, module in network.named_modules() if isinstance(module, Gate)]
    if not gates:
        why = getattr(network, "gateless", None) or (
            "end each residual branch with cohobate.Gate, name those branches to "
            "cohobate.adapt(network, gates=[...]), or take a residual network (`cohobate list models`)"
        )
        raise ValueError(f"{type(network).__name__} has no gates: {why}")
    return [name for name, _ in sorted(gates, key=lambda gate: gate[1].position)]


def run(
    network: nn.Module,
    x: Tensor,
    *,
    gates: Mapping[str, Tensor] | None = None,
    track: bool = True,
) -> Output:
    """One forward pass, with values for the gates; batch-norm statistics are updated or not.

    Args:
        network: any network.
        x: images, (B, C, H, W).
        gates: path of a gate -> () value that multiplies its branch.
        track: False leaves the running statistics as they are (the pass still normalises by the
            batch when the network trains).
    """
    swapped = {f"{name}.value": value for name, value in (gates or {}).items()}
    if not track:
        swapped |= {
            f"{path}.{name}" if path else name: buffer.clone()
            for path, norm in network.named_modules()
            if isinstance(norm, _BatchNorm)
            for name, buffer in norm.named_buffers(recurse=False)
        }
    return as_output(functional_call(network, swapped, (x,), tie_weights=False) if swapped else network(x))


def fold(network: nn.Module, gates: Mapping[str, float]) -> nn.Module:
    """A copy of the network whose residual branches are scaled for good.

    The scale goes into the last affine layer of each branch, so the copy costs what the plain
    network costs and has its keys.

    Raises:
        ValueError: the layer that a gate names does not exist, or has no parameters to scale.
    """
    network = deepcopy(network)
    modules = dict(network.named_modules())
    for path, value in gates.items():
        holder, name = path.rpartition(".")[0], str(modules[path].affine)
        affine = modules.get(normpath(join(holder.replace(".", "/"), name)).replace("/", "."))
        parameters = [] if affine is None else list(affine.parameters(recurse=False))
        if not parameters:
            beside = [n for n, m in modules[holder].named_children() if list(m.parameters(recurse=False))]
            raise ValueError(
                f"the gate {path} scales {name!r}, which is no affine layer (beside it there is "
                f"{', '.join(beside) or 'none'})"
            )
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(value)
    return network
