"""SLKD's fusion of the SL-teachers (eq. 6); :mod:`cohobate.methods.slkd` has the citation and the choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Classifier, float32, run
from ..core.options import Doc, Ge, Le, checked

Rho = Annotated[
    float | Sequence[float] | None,
    Ge(0),
    Le(1),
    Doc("rho of eq. 6, weight of the first of two SL-teachers; by default all weights are equal."),
]
Fuse = Annotated[Literal["logits", "probabilities"], Doc("Outputs of the SL-teachers that eq. 6 averages.")]


@float32
def fuse_logits(shares: Sequence[float], *logits: Tensor) -> Tensor:
    """The weighted mean of several networks' logits, (B, K) each."""
    return torch.stack([share * z for share, z in zip(shares, logits, strict=True)]).sum(0)  # Eq. 6


@float32
def fuse_probabilities(shares: Sequence[float], temperature: float | Tensor, *logits: Tensor) -> Tensor:
    """Logits whose softmax at ``temperature`` is the weighted mean of the networks' own, (B, K) each."""
    weighted = [
        F.log_softmax(z / temperature, dim=1) + math.log(share)
        for share, z in zip(shares, logits, strict=True)
        if share > 0
    ]
    return temperature * torch.stack(weighted).logsumexp(0)  # Eq. 6, of probabilities


class Fusion(nn.Module):
    """Several networks, and the weighted mean of their predictions: images -> logits, (B, K).

    Args:
        networks: at least one, all different.

    ``rho`` may also be a sequence, one weight for each network, which sum to 1. The mean of probabilities
    is returned as its logarithm, times the temperature.

    Raises:
        ValueError: there is no network, or one stands twice; or an option is out of range.
    """

    @checked
    def __init__(self, networks: Sequence[nn.Module], *, rho: Rho = None, fuse: Fuse = "logits") -> None:
        super().__init__()
        if len(networks) == 0 or len(set(networks)) < len(networks):
            raise ValueError(
                f"sl_teachers must be one network or several different ones, got {len(networks)} "
                f"of which {len(set(networks))} differ"
            )
        self.networks = nn.ModuleList(networks)
        self.shares = _shares(rho, len(networks))
        self.fuse = fuse

    def logits(self, x: Tensor, track: bool = True) -> list[Tensor]:
        """Logits of each network, (B, K); without ``track`` batch-norm statistics do not change."""
        return [run(network, x, track=track).logits for network in self.networks]

    def fused(self, logits: Sequence[Tensor], temperature: float | Tensor = 1.0) -> Tensor:
        """The weighted mean of logits (:meth:`logits`), or of probabilities at ``temperature``; (B, K).

        Raises:
            ValueError: the networks predict different classes.
        """
        # Compared, not hashed: a number of images that is not known yet has no hash (torch.export).
        if any(z.shape != logits[0].shape for z in logits):
            shapes = ", ".join(str(tuple(z.shape)) for z in logits)
            raise ValueError(f"logits of shapes {shapes} cannot be fused; all must predict the same classes")
        if self.fuse == "probabilities":
            return fuse_probabilities(self.shares, temperature, *logits)
        return fuse_logits(self.shares, *logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.fused(self.logits(x))

    def predictors(self) -> dict[str, nn.Module]:
        """Each network, and where there are several their fusion."""
        single: dict[str, nn.Module] = {
            f"sl_teacher_{i}": Classifier(network) for i, network in enumerate(self.networks, 1)
        }
        return single | ({"sl_fused": self} if len(single) > 1 else {})

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.logits(x)
        single = {f"sl_teacher_{i}": z for i, z in enumerate(logits, 1)}
        return single | ({"sl_fused": self.fused(logits)} if len(single) > 1 else {})


def _shares(rho: Rho, networks: int) -> tuple[float, ...]:
    if rho is None:
        return (1 / networks,) * networks
    if not isinstance(rho, Sequence):
        if networks != 2:
            raise ValueError(
                f"rho={rho} is the weight of the first of two SL-teachers, but there are {networks}; give a "
                "sequence with a weight for each (in Python), or leave rho out for equal weights"
            )
        rho = (rho, 1 - rho)
    if len(rho) != networks:
        raise ValueError(f"rho has {len(rho)} weights for {networks} SL-teachers; give one weight for each")
    if not math.isclose(sum(rho), 1, abs_tol=1e-6):
        raise ValueError(f"the weights in rho must sum to 1, got {tuple(rho)}")
    return tuple(rho)
