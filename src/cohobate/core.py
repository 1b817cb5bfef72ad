"""The words that every room speaks: batch, output, term, method, phase, teacher, group, gate.

Only torch is imported here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import combinations
from posixpath import join, normpath
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

IGNORED = -100
"""Label of a position that no loss counts."""


class Batch(NamedTuple):
    """Images and labels of one step; row i of every field belongs to label ``y[i]``.

    Attributes:
        views: one or more views of the images, each (B, C, H, W); :attr:`x` is the first.
        y: integer ids, (B,) or (B, H, W), where -100 is ignored; or probabilities, (B, K), floating.
        index: (B,) rows of the training set, for memory banks; None once images are mixed.
        progress: () share of the phase that is done, 0 to 1, on the device.
        taught: (B, K) logits of the teacher, where they were computed before.
    """

    views: tuple[Tensor, ...]
    y: Tensor
    index: Tensor | None = None  # type: ignore[assignment]
    progress: Tensor | None = None
    taught: Tensor | None = None

    @property
    def x(self) -> Tensor:
        return self.views[0]

    def ids(self, who: str) -> Tensor:
        """Integer labels, for ``who`` cannot take anything else.

        Raises:
            ValueError: the labels are probabilities (mixing or label smoothing makes them so).
        """
        if self.y.is_floating_point():
            raise ValueError(
                f"{who} needs integer labels, got probabilities of shape {tuple(self.y.shape)}; "
                "switch off label smoothing and mixing"
            )
        return self.y

    def rows(self, who: str) -> Tensor:
        """Rows of the training set, for ``who`` keeps something for each of them.

        Raises:
            ValueError: the images are no rows of it (mixed, or unlabelled ones among them).
        """
        if self.index is None:
            raise ValueError(
                f"{who} keeps a memory of each training image and needs Batch.index; switch off mixing "
                "and unlabelled images"
            )
        return self.index

    def ramp(self, share: float, who: str) -> Tensor | float:
        """A linear rise from 0 to 1 over the first ``share`` of the phase.

        Raises:
            ValueError: the batch does not say how far the phase is.
        """
        if share == 0:
            return 1.0
        if self.progress is None:
            raise ValueError(
                f"{who} rises over the first {share:.3g} of a run and needs Batch.progress, a tensor of "
                "() from 0 to 1; give it, or a share of 0"
            )
        return (self.progress / share).clamp(max=1.0)


class Loader(Protocol):
    """Batches, epoch by epoch.

    ``len`` is the micro-batches of an epoch on this rank. ``epoch(e, start)`` yields those of
    epoch e from number ``start`` on: exactly the tail of the whole epoch. Each is
    ``Batch(views, y, index)`` on the device: views (B, 3, H, W), float32, normalised, in
    channels_last memory; y (B,); index (B,), rows of the split.
    """

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]: ...


class Output(NamedTuple):
    """What a network returns.

    Attributes:
        logits: (B, K) or (B, K, H, W).
        pooled: (B, D), what the classifier sees.
        stages: (B, C_i, H_i, W_i) each, shallow to deep, as the next stage sees them.
        preacts: the same before the last ReLU of the stage, where the network can say.
    """

    logits: Tensor
    pooled: Tensor | None = None
    stages: tuple[Tensor, ...] = ()
    preacts: tuple[Tensor, ...] | None = None

    def detach(self) -> Output:
        return Output(
            self.logits.detach(),
            None if self.pooled is None else self.pooled.detach(),
            tuple(s.detach() for s in self.stages),
            None if self.preacts is None else tuple(p.detach() for p in self.preacts),
        )


def as_output(value: object) -> Output:
    """The Output of a network; a plain tensor of logits is an Output with nothing else.

    Raises:
        ValueError: the network returned something else, a tuple of tensors for example.
    """
    if isinstance(value, Output):
        return value
    if isinstance(value, Tensor):
        return Output(value)
    raise ValueError(
        f"a network returns cohobate.Output or a tensor of logits, got {type(value).__name__}; "
        "wrap the network so that forward returns its logits"
    )


class Term(nn.Module):
    """What is compared: ``term(student, teacher, batch) -> scalar``, to be scaled by ``weight``.

    A term may own regressors or banks. No gradient enters ``teacher``.

    Attributes:
        weight: factor of the term.
        logits_only: whether the teacher's logits are all that it reads of the teacher, so that they
            may come from a store.
        remembers: how many training images it keeps something of; None where it does not.
    """

    weight: float = 1.0
    logits_only: bool = False
    remembers: int | None = None

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}.forward")


class Method(nn.Module):
    """Who learns from whom: owns every network it trains, returns named loss terms.

    ``forward(batch)`` returns the terms already weighted; the training loss is their plain sum.

    Attributes:
        second_view: what ``batch.views[1]`` must be: another augmentation of the same image, or
            another image of its class; None for one view.
        turns: optimizer steps of one update.
        rests: whether a step may leave a parameter without a gradient.
        peer_readouts: names of the read-outs that learn side by side: the mean of their errors is
            measured, and how much they agree.
    """

    second_view: Literal["augmentation", "classmate"] | None = None
    turns: int = 1
    rests: bool = False
    peer_readouts: tuple[str, ...] = ()

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Named groups of parameters that a recipe may give rates of their own."""
        return {"networks": [p for p in self.parameters() if p.requires_grad]}

    def predictors(self) -> dict[str, nn.Module]:
        """Plain modules, images -> logits; the first is the one deployed."""
        raise NotImplementedError(f"{type(self).__name__}.predictors")

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every predictor, what they share computed once: for validation."""
        raise NotImplementedError(f"{type(self).__name__}.readouts")

    @property
    def reads_logits_of(self) -> Frozen | None:
        """The frozen teacher of whom it reads ``teacher(batch.x).logits`` and nothing else.

        Its logits may then come as ``batch.taught``, computed before. None: there is no such teacher.
        """
        return None

    def after_step(self) -> None:
        """Called once after each update."""


class Phase(NamedTuple):
    """What a plan yields: train ``method`` under the run's settings, overridden by ``settings``."""

    name: str
    method: Method
    settings: Mapping[str, Any] = {}


Plan = Generator[Phase, dict[str, Any], None]
"""A generator of phases; the engine sends it the measurements of the phase that has ended."""


class Frozen(nn.Module):
    """A teacher: evaluation mode whatever ``train()`` says, no gradient, absent from parameters.

    The network is a deep copy (``copy=False`` keeps the object). It follows ``.to()`` but is in no
    ``state_dict``, no optimizer and no DDP bucket.
    """

    def __init__(self, network: nn.Module, *, copy: bool = True) -> None:
        super().__init__()
        network = deepcopy(network) if copy else network
        # A tuple hides the network from nn.Module's registration.
        self._held = (network.eval().requires_grad_(False),)

    @classmethod
    def of(cls, network: nn.Module) -> Frozen:
        """The network if it is frozen already, else a frozen copy of it."""
        return network if isinstance(network, Frozen) else cls(network)

    @property
    def network(self) -> nn.Module:
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)
        self.network._apply(fn, recurse)
        return self

    def forward(self, x: Tensor) -> Output:
        with torch.no_grad():
            return as_output(self.network(x))


class Mean(nn.Module):
    """Several networks as one: the mean of their logits. Features have no mean: there are none.

    The mean of logits is the geometric mean of the predicted probabilities, renormalised.

    Args:
        networks: of the same classes, one or more.

    Raises:
        ValueError: no network; or, when it runs, logits of different shapes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("Mean needs at least one network")
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Output:
        logits = [as_output(network(x)).logits for network in self.networks]
        shapes = [tuple(each.shape) for each in logits]
        if len(set(shapes)) > 1:
            raise ValueError(f"the networks of a Mean predict logits of different shapes: {shapes}")
        return Output(torch.stack(logits).mean(dim=0))


class Group(nn.Module):
    """Networks that learn side by side: one pass gives the outputs of all.

    Attributes:
        shared: how many stages, the first ones, are the same in all of them.
    """

    shared: int = 0

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}.__len__")

    def forward(self, x: Tensor) -> tuple[Output, ...]:
        """(B, C, H, W) -> one Output each."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def alone(self, i: int) -> nn.Module:
        """Network i as a plain network."""
        raise NotImplementedError(f"{type(self).__name__}.alone")


class Separate(Group):
    """A group that shares nothing.

    Args:
        networks: one or more, of the same classes, none of them twice.

    Raises:
        ValueError: no network, one of them twice, or two that begin with the same weights: peers that
            begin alike stay alike.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks or len(set(networks)) < len(networks):
            raise ValueError(f"a group is of different networks, got {len(set(networks))} of {len(networks)}")
        for one, two in combinations(range(len(networks)), 2):
            if _same_weights(networks[one], networks[two]):
                raise ValueError(
                    f"networks {one + 1} and {two + 1} of {len(networks)} begin with the same weights, so "
                    "they would never differ; draw those of each anew"
                )
        self.networks = nn.ModuleList(networks)

    def __len__(self) -> int:
        return len(self.networks)

    def forward(self, x: Tensor) -> tuple[Output, ...]:
        return tuple(as_output(network(x)) for network in self.networks)

    def alone(self, i: int) -> nn.Module:
        return self.networks[i]


def _same_weights(one: nn.Module, two: nn.Module) -> bool:
    pairs = dict(one.named_parameters()), dict(two.named_parameters())
    return pairs[0].keys() == pairs[1].keys() and all(
        p.shape == pairs[1][name].shape and torch.equal(p, pairs[1][name]) for name, p in pairs[0].items()
    )


class Classifier(nn.Module):
    """Images -> logits of a network, under the network's own state-dict keys."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        keep_keys(self)

    def forward(self, x: Tensor) -> Tensor:
        return as_output(self.network(x)).logits


def keep_keys(wrapper: nn.Module) -> None:
    """Let a module that wraps ``network``, and owns nothing else, have the network's own keys."""
    wrapper.register_state_dict_post_hook(_strip_prefix)
    wrapper.register_load_state_dict_pre_hook(_add_prefix)


def _strip_prefix(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for key in [k for k in state if k.startswith(f"{prefix}network.")]:
        state[prefix + key[len(prefix) + len("network.") :]] = state.pop(key)


def _add_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in [k for k in state if k.startswith(prefix)]:
        state[f"{prefix}network.{key[len(prefix) :]}"] = state.pop(key)


# ---------------------------------------------------------------- numerical care

Function = TypeVar("Function", bound=Callable[..., Any])


def float32(function: Function) -> Function:
    """Run an equation with autocast off and half-precision arguments cast up; float64 stays.

    ``.float()`` alone is not enough: autocast would put matmul and linear back into bfloat16.
    """

    @functools.wraps(function)
    def careful(*args: Any, **kwargs: Any) -> Any:
        device = next((a.device.type for a in args if isinstance(a, Tensor)), "cpu")
        args, kwargs = tuple(map(_up, args)), {k: _up(v) for k, v in kwargs.items()}
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return careful  # type: ignore[return-value]


def _up(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


@float32
def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy over the kept positions.

    Args:
        logits: (B, K) or (B, K, H, W).
        y: ids, (B,) or (B, H, W), where -100 is ignored; or probabilities of the logits' shape.
    """
    if y.is_floating_point():
        return F.cross_entropy(logits, y)
    total = F.cross_entropy(logits, y, ignore_index=IGNORED, reduction="sum")
    return total / (y != IGNORED).sum().clamp(min=1)


# ---------------------------------------------------------------- gates


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
    """One pass, with values for gates, and with batch-norm statistics kept or thrown away.

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
        ValueError: what a gate names is not there, or has no parameters to scale.
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
