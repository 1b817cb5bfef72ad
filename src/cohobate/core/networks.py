"""The output of a network; frozen teachers, averages of networks, and groups of peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Output(NamedTuple):
    """The logits and features that a network computes.

    Attributes:
        logits: (B, K) or (B, K, H, W).
        pooled: (B, D), input of the classifier.
        stages: (B, C_i, H_i, W_i) each, shallow to deep: input of the next stage.
        preacts: the stages before their last ReLU; None where the network does not return them.
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
