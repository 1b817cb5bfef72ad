"""The output of a network; frozen teachers, groups of peers, and plain classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from .classes import names_of


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
    if isinstance(value, Tensor | Proxy):  # a proxy stands for a tensor while torch.fx traces
        return Output(value)  # type: ignore[arg-type]
    raise ValueError(
        f"a network returns cohobate.Output or a tensor of logits, got {type(value).__name__}; "
        "wrap the network so that forward returns its logits"
    )


def refuse_wrapped(network: nn.Module) -> None:
    """Raise a ValueError if a network is wrapped for several devices, or a part of it is."""
    for path, module in network.named_modules():
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            name = f"its module {path}" if path else "the network"
            raise ValueError(
                f"{name} is wrapped by {type(module).__name__}; give the network itself, which is its "
                ".module (several GPUs: torchrun, which wraps the whole method)"
            )


class Frozen(nn.Module):
    """A teacher: evaluation mode whatever ``train()`` says, no gradient, absent from parameters.

    The network is a deep copy (``copy=False`` keeps the object). It follows ``.to()`` but is in no
    ``state_dict``, no optimizer and no DDP bucket. Of a :class:`Classifier`, such as :func:`cohobate.load`
    gives, it holds the network inside, which returns features too.

    Attributes:
        class_names: of the outputs, if the network names them.

    Raises:
        ValueError: the network is wrapped by DataParallel.
    """

    def __init__(self, network: nn.Module, *, copy: bool = True) -> None:
        super().__init__()
        refuse_wrapped(network)
        self.class_names = names_of(network)
        network = network.network if isinstance(network, Classifier) else network
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

    def reorder(self, order: Sequence[int], names: Sequence[str]) -> None:
        """Put the logits into another order (:class:`Reordered`), that of the classes named."""
        self._held = (Reordered(self.network, order).eval(),)
        self.class_names = tuple(names)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Frozen:
        super()._apply(fn, recurse)
        self.network._apply(fn, recurse)
        return self

    def forward(self, x: Tensor) -> Output:
        with torch.no_grad():
            return as_output(self.network(x))


class Reordered(nn.Module):
    """A network whose logits are put into another order; its features stay as they are.

    Args:
        network: images -> Output or logits.
        order: for each class, the position of its logit among the network's.
    """

    order: Tensor

    def __init__(self, network: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("order", torch.tensor(order), persistent=False)
        keep_keys(self)

    def forward(self, x: Tensor) -> Output:
        output = as_output(self.network(x))
        return output._replace(logits=output.logits.index_select(1, self.order))


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
    """Images -> logits of a network, under the network's own state-dict keys.

    Args:
        network: images -> Output or logits.
        class_names: of its outputs, where they are known.

    Attributes:
        network: the network itself, which returns an Output (or logits, if it has no features).
        class_names: of the logits; None if nobody recorded them.
    """

    def __init__(self, network: nn.Module, *, class_names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.network = network
        self.class_names = names_of(network) if class_names is None else tuple(class_names)
        keep_keys(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K), or (B, K, H, W) of a network that gives every pixel a class."""
        # A network that is read by hooks predicts without them: what exports it follows no hook.
        alone = getattr(self.network, "only_logits", self.network)
        return as_output(alone(x)).logits

    def features(self, x: Tensor) -> Output:
        """(B, C, H, W) -> the network's whole output: logits, pooled features, stages."""
        return as_output(self.network(x))


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
