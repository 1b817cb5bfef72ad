"""Networks whose logits add up, all finished but the last one: parts of ResKD's stages and its ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from ..core import Classifier, Frozen, Sum, running_sums


def frozen(networks: Sequence[nn.Module]) -> nn.ModuleList:
    """Finished networks; plain modules are copied and frozen."""
    return nn.ModuleList(map(Frozen.of, networks))


def sum_before(earlier: Iterable[nn.Module], x: Tensor) -> Tensor | None:
    """The logits of S_(i-1), (B, K); None in stage 0."""
    logits = [network(x).logits for network in earlier]
    return running_sums(logits)[-1] if logits else None


def sums_of(earlier: Iterable[Any], network: nn.Module) -> dict[str, nn.Module]:
    """Plain networks: ``student``, which is S_i, and ``S_0`` ... ``S_(i-1)`` where there are earlier ones."""
    networks = [*(each.network for each in earlier), network]
    return _named(
        [Classifier(networks[0] if last == 0 else Sum(networks[: last + 1])) for last in range(len(networks))]
    )


def summed_readouts(earlier: Iterable[nn.Module], logits: Tensor, x: Tensor) -> dict[str, Tensor]:
    """The logits of :func:`sums_of`; each network runs once.

    Args:
        earlier: S_0 ... R_(i-1).
        logits: of R_i, (B, K).
        x: the images.
    """
    return _named(running_sums([*(network(x).logits for network in earlier), logits]))


def _named(sums: Sequence[Any]) -> dict[str, Any]:
    return {"student": sums[-1], **{f"S_{i}": each for i, each in enumerate(sums[:-1])}}
