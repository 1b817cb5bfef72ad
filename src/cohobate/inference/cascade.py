"""Sample-adaptive inference: each image runs through no more networks than it needs.

Xuewei Li, Songyuan Li, Bourahla Omar, Fei Wu, Xi Li: ResKD: Residual-Guided Knowledge Distillation. IEEE
Transactions on Image Processing, 2021. Section III-C, eqs. 10 and 11, algorithm 2.

S_0, R_1 ... R_n    networks[0], networks[1] ... networks[n], whose logits add up
S_i                 the sum of the first i + 1 networks (eq. 5)
TH_energy           threshold (eq. 10: thresholds.by_energy)
E_i                 the running energy of an image after stage i
L                   exits, the stage after which an image leaves

Choices:
- E_i is the energy of S_i, as section III-C has it (``energy="sum"``); algorithm 2 as printed adds the
  energies of S_0, R_1 ... R_i up (``"added"``), a number that may exceed 1.
- The printed example says L = 0 for an image that uses S_0 and R_1; L is 1 here, as in algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core import as_output, names_of, precise_energy
from ..core.combined import check_shapes, in_order
from ..core.options import checked
from .energies import Reading, check_threshold


class Exits(NamedTuple):
    """What a cascade predicts, and where each image left it.

    Attributes:
        logits: (B, K), of S_L.
        exits: (B,), int64, L: 0 for an image that needed the first network only.
    """

    logits: Tensor
    exits: Tensor


class Cascade(nn.Module):
    """Networks whose logits add up, of which an image runs through as many as it needs: images -> logits.

    An image leaves after the first stage at which its energy is above the threshold, else after the last.
    Images that have left are not computed any further: only the others go through the next network. The
    energies are of float64; the logits are summed as :class:`cohobate.Sum` does it, in float32 where they are
    of half precision.

    With a threshold of 0 the logits are those of the first network; with math.inf (or 1, for the energy of
    the sum) those of the Sum of all, bit for bit. Between them they are those of the prefixes of the Sum to
    rounding, since a network may round otherwise in a batch of another size.

    A cascade is for inference. It runs only while its networks are in evaluation mode: in training mode
    the statistics of a batch norm would depend on which images are left.

    Args:
        networks: S_0, R_1 ... R_n: of the same classes, one or more; images -> logits (B, K) or Output. Where
            they name their classes (``class_names``) in another order, the first one's order counts.
        threshold: TH_energy, an energy in [0, 1]; math.inf: no image leaves early.
        energy: what is compared with the threshold.

    Attributes:
        networks: the networks, under the keys that :class:`cohobate.Sum` has in its state dict.
        class_names: those of the first network.

    Raises:
        ValueError: no network, other classes, a threshold that is none; or, when it runs, a network in
            training mode, logits that are not (B, K) or are of different shapes.
    """

    @checked
    def __init__(self, networks: Sequence[nn.Module], threshold: float, *, energy: Reading = "sum") -> None:
        super().__init__()
        self.networks = nn.ModuleList(in_order(networks, "Cascade"))
        self.class_names = names_of(networks[0])
        self.threshold, self.energy = threshold, energy

    @property
    def threshold(self) -> float:
        """TH_energy; it can be set to another."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self._threshold = check_threshold(threshold)

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)[0]

    def exits(self, x: Tensor) -> Exits:
        """The logits of images, (B, ...), and the stage after which each leaves."""
        logits, ran = self._run(x)
        exits = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        for i, rows in enumerate(ran, start=1):
            exits[rows] = i
        return Exits(logits, exits)

    def _run(self, x: Tensor) -> tuple[Tensor, list[Tensor | slice]]:
        """Logits, and the rows that ran through each network after the first, as far as any did."""
        first, *others = self._ready()
        logits = as_output(first(x)).logits
        result = sums = _wide(logits)  # S_0
        rows: Tensor | slice = slice(None)
        ran: list[Tensor | slice] = []
        running: Tensor | float = 0.0
        # Energies are at most 1: where they are not added up, none is above 1.
        early = self.threshold < (1 if self.energy == "sum" else math.inf)
        for network in others:
            if early:
                is_sum = self.energy == "sum"
                running = precise_energy(sums) if is_sum else running + precise_energy(logits)  # Algorithm 2
                stay = _staying(running, self.threshold)
                if stay is None:
                    break
                if isinstance(stay, Tensor):
                    x, sums, running = _rows(x, stay), _rows(sums, stay), _rows(running, stay)
                    rows = stay if isinstance(rows, slice) else _rows(rows, stay)
            logits = as_output(network(x)).logits
            if logits.shape != sums.shape:
                check_shapes([sums, logits], "Cascade")
            sums = sums + logits  # Eq. 5; of float32 or wider, as Sum adds
            result = sums if isinstance(rows, slice) else result.index_copy(0, rows, sums)  # Eq. 11
            ran.append(rows)
        return result, ran

    def _ready(self) -> list[nn.Module]:
        networks = list(self.networks)
        for i, network in enumerate(networks):
            if network.training:
                raise ValueError(
                    f"network {i + 1} of a Cascade is in training mode, in which its batch norms would "
                    "depend on which images are left; call .eval() first"
                )
        return networks


def _wide(logits: Tensor) -> Tensor:
    """Logits, in float32 where they are of half precision."""
    if logits.ndim != 2:
        raise ValueError(f"a Cascade is of logits of images, (B, K), got shape {tuple(logits.shape)}")
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _staying(energies: Tensor, threshold: float) -> Tensor | slice | None:
    """Rows of the images that go on; a slice of all if no image leaves, None if all do."""
    if len(energies) == 1:  # a number is read in less time than rows are listed
        return slice(None) if energies.item() <= threshold else None
    rows = (energies <= threshold).nonzero().squeeze(1)
    if len(rows) == len(energies):
        return slice(None)
    return rows if len(rows) else None


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a batch; channels_last images stay so."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.movedim(1, 3).index_select(0, rows).movedim(3, 1)
    return x.index_select(0, rows)
