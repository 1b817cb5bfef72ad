"""Checks that losses, weights and measures are finite numbers, and the errors that say which are not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import distributed
from .errors import NonFiniteLoss
from .standing import Standing

STATISTICS = ("running_mean", "running_var")
"""Buffers of normalisation layers. Other buffers may hold infinities on purpose, as masks do."""

REMEDY = "lower lr or the weight of a term, or set clip"

NAMED = 3
"""Tensors that an error names."""


class Watch(NamedTuple):
    """Checks what a phase computes; every error says where it stands and which state is kept.

    Attributes:
        standing: progress of the phase.
        steps: updates of an epoch.
        last: file of the newest checkpoint, which need not exist.
    """

    standing: Standing
    steps: int
    last: Path

    def losses(self, losses: Mapping[str, Tensor]) -> None:
        """Check that every loss term, (), is finite.

        Raises:
            NonFiniteLoss: a term is NaN or infinite.
        """
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                standing = self.standing
                raise NonFiniteLoss(
                    f"the loss term {name!r} of phase {standing.name!r} became {loss.item()} in epoch "
                    f"{standing.epoch + 1}, at or before step {min(standing.step + 1, self.steps)}"
                    f"{_largest_before(standing)}; {self._saved}; {REMEDY}"
                )

    def weights(self, method: nn.Module, average: Mapping[str, Tensor]) -> None:
        """Check the weights of a method, and their moving averages; every process must call it.

        Args:
            method: its parameters and running statistics are checked.
            average: name -> moving average of a tensor of the method; may be empty.

        Raises:
            NonFiniteLoss: one of them is NaN or infinite, in any process.
        """
        live = weights_of(method)
        averages = {f"the moving average of {name}": average[name] for name in live if name in average}
        found = distributed.gathered(not_finite(live) or not_finite(averages))
        if names := next(filter(None, found), None):
            standing = self.standing
            raise NonFiniteLoss(
                f"{_listed(names, len(live))} of phase {standing.name!r} are not finite in epoch "
                f"{standing.epoch + 1}, after step {standing.step} of {self.steps}"
                f"{_largest_before(standing)}; {self._saved}; {REMEDY}"
            )

    def deployed(self, network: nn.Module, epoch: int) -> None:
        """Check the weights of the network to deploy, which are those of an epoch.

        Raises:
            NonFiniteLoss: one of them is NaN or infinite.
        """
        live = weights_of(network)
        if names := not_finite(live):
            raise NonFiniteLoss(
                f"{_listed(names, len(live))} of the network to deploy, those of epoch {epoch} of phase "
                f"{self.standing.name!r}, are not finite; nothing is deployed; {REMEDY}, and give another "
                f"--out, or remove {self.last.parent}"
            )

    def measured(self, measured: Mapping[str, Mapping[str, Any]], split: str) -> None:
        """Check what was measured on a split.

        Raises:
            NonFiniteLoss: a measure is NaN or infinite.
        """
        if broken := next(broken_measures(measured), None):
            readout, measure, value = broken
            standing = self.standing
            # Weights are measured again before they are deployed; the checkpoint holds them already then.
            saved = self._saved if standing.epoch > len(standing.history) else "nothing is deployed"
            raise NonFiniteLoss(
                f"the measure {measure!r} of the read-out {readout!r} on the {split} split is {value} after "
                f"epoch {standing.epoch} of phase {standing.name!r}: the weights are finite, its logits are "
                f"not{_largest_before(standing)}; {saved}; {REMEDY}"
            )

    @property
    def _saved(self) -> str:
        return f"the last good state is {self.last}" if self.last.exists() else "no good state was saved yet"


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, and the running statistics of normalisation layers: name -> tensor."""
    statistics = ((name, b) for name, b in module.named_buffers() if name.endswith(STATISTICS))
    return {name: t.detach() for name, t in (*module.named_parameters(), *statistics)}


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with a value that is NaN or infinite. The device is waited for once."""
    if not tensors:
        return []
    finite = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
    return [name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite]


def broken_measures(measured: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """Read-out, measure and value of every measure that is NaN or infinite."""
    for readout, measures in measured.items():
        for measure, value in measures.items():
            if isinstance(value, float) and not math.isfinite(value):
                yield readout, measure, value


def _listed(names: list[str], total: int) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} of {total} tensors ({', '.join(names[:NAMED])}{more})"


def _largest_before(standing: Standing) -> str:
    """The term that was largest while all were finite: it often tells more than the term that failed."""
    means = standing.means(max(1, standing.step))
    if not means or not all(map(math.isfinite, means.values())):
        means = dict(standing.history[-1]["losses"]) if standing.history else {}
    if not means:
        return ""
    name = max(means, key=lambda term: abs(means[term]))
    return f" (before it the largest term was {name!r}, {means[name]:.3g} on average)"
