"""Several networks as one network: their average, or their sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .classes import match_classes, names_of
from .networks import Classifier, Output, Reordered, as_output
from .numerics import float32


class Mean(nn.Module):
    """Several networks as one: the mean of their logits, or of their probabilities.

    The mean of logits is the geometric mean of the predicted probabilities, renormalised. For the mean of
    probabilities the logits are its logarithm, (B, K): a softmax gives the mean, at a temperature of 1; a
    term with another temperature softens the mean. Features have no mean: they are those of the first.

    Args:
        networks: of the same classes, one or more. Where they name them (``class_names``) in another
            order, the first one's order counts.
        weights: of each network, above 0; they are divided by their sum. By default all are equal.
        of: what is averaged.
        features: whether the output has the features of the first network.

    Attributes:
        class_names: those of the first network.

    Raises:
        ValueError: no network, other classes, weights of another number or not above 0; or, when it runs,
            logits of different shapes.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        *,
        weights: Sequence[float] | None = None,
        of: Literal["logits", "probabilities"] = "logits",
        features: bool = True,
    ) -> None:
        super().__init__()
        _check(networks, "Mean")
        if of not in ("logits", "probabilities"):
            raise ValueError(f"a Mean is of logits or of probabilities, got {of!r}")
        above_0 = weights is None or all(0 < weight < math.inf for weight in weights)
        if weights is not None and (len(weights) != len(networks) or not above_0):
            raise ValueError(
                f"a Mean of {len(networks)} networks needs a weight above 0 for each, got {weights}"
            )
        self.networks = nn.ModuleList(in_order(networks, "Mean"))
        self.class_names = names_of(networks[0])
        self.of, self.features = of, features
        self.shares = None if weights is None else [float(w) / sum(weights) for w in weights]

    def forward(self, x: Tensor) -> Output:
        outputs = [as_output(network(x)) for network in self.networks]
        logits = [output.logits for output in outputs]
        check_shapes(logits, "Mean")
        if self.of == "probabilities":
            mean = mean_of_probabilities(self.shares, *logits)
        elif self.shares is None:
            mean = torch.stack(logits).mean(dim=0)
        else:
            mean = torch.stack([share * z for share, z in zip(self.shares, logits, strict=True)]).sum(dim=0)
        return outputs[0]._replace(logits=mean) if self.features else Output(mean)


@float32
def mean_of_probabilities(shares: Sequence[float] | None, *logits: Tensor) -> Tensor:
    """The logarithm of the weighted mean of several softmaxes, (B, K) each or (B, K, H, W).

    Args:
        shares: of each, in sum 1; None: equal ones.
        logits: of each network.
    """
    shares = [1 / len(logits)] * len(logits) if shares is None else shares
    weighted = [F.log_softmax(z, dim=1) + math.log(w) for w, z in zip(shares, logits, strict=True)]
    return torch.stack(weighted).logsumexp(dim=0)


class Sum(nn.Module):
    """Several networks as one: the sum of their logits (ResKD, eq. 5: S_n = S_0 + R_1 + ... + R_n).

    The logits are added one network after the other, in float32 where they are of half precision, so that the
    sum of the first networks of a longer sum has the same bits. Features have no sum: they are those of the
    first network.

    Args:
        networks: of the same classes, one or more. Where they name them (``class_names``) in another
            order, the first one's order counts.

    Attributes:
        class_names: those of the first network.

    Raises:
        ValueError: no network, other classes; or, when it runs, logits of different shapes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(in_order(networks, "Sum"))
        self.class_names = names_of(networks[0])

    def forward(self, x: Tensor) -> Output:
        outputs = [as_output(network(x)) for network in self.networks]
        return outputs[0]._replace(logits=running_sums([output.logits for output in outputs])[-1])

    def prefixes(self, x: Tensor) -> tuple[Tensor, ...]:
        """The logits of the sums of the first network, of the first two ... of all, (B, K) each."""
        return running_sums([as_output(network(x)).logits for network in self.networks])


def running_sums(logits: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """S_0, S_0 + R_1, S_0 + R_1 + R_2 ... (ResKD, eq. 5) of logits of one shape.

    Raises:
        ValueError: different shapes.
    """
    check_shapes(logits, "Sum")
    return tuple(accumulate(logits, add))


@float32
def add(one: Tensor, two: Tensor) -> Tensor:
    """The sum of two logits, in float32 where they are of half precision."""
    return one + two


def _check(networks: Sequence[nn.Module], what: str) -> None:
    if not networks:
        raise ValueError(f"{what} needs at least one network")


def check_shapes(logits: Sequence[Tensor], what: str) -> None:
    """Raise a ValueError if the networks of a sum or a mean predict logits of different shapes."""
    shapes = [tuple(each.shape) for each in logits]
    # Compared one by one: a size that is a symbol, while torch.export captures the network, has no hash.
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"the networks of a {what} predict logits of different shapes: {shapes}")


def in_order(networks: Sequence[nn.Module], what: str) -> list[nn.Module]:
    """The networks, bare of a Classifier, with the classes of all in the order of the first.

    Args:
        networks: of the same classes, one or more.
        what: of what they become parts, for the messages.

    Raises:
        ValueError: no network, or other classes.
    """
    _check(networks, what)
    bare = [each.network if isinstance(each, Classifier) else each for each in networks]
    names = [names_of(each) for each in networks]
    for i, theirs in enumerate(names):
        if theirs is not None and names[0] is not None:
            order = match_classes(theirs, names[0], f"network {i + 1} of a {what}").order
            bare[i] = bare[i] if order is None else _reordered(bare[i], order)
    return bare


def _reordered(network: nn.Module, order: Sequence[int]) -> nn.Module:
    reordered = Reordered(network, order)
    reordered.training = network.training  # in the mode of what it wraps
    return reordered
