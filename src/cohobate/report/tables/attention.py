"""Where networks look, in numbers: the maps of each block and how concentrated they are, epoch by epoch.

The picture of them: :mod:`cohobate.report.figures.attention_picture`. What a map is, and how its
concentration is measured: :mod:`cohobate.analysis.attention`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...config.words import count
from .text import csv_text

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor


@dataclass(frozen=True)
class Look:
    """Where one network looks at one epoch.

    Attributes:
        network: name of the network.
        epoch: at the end of which its weights were kept.
        maps: of each block, shallow to deep, (N, H_i, W_i), not negative; N images.
        predicted: the class that the network predicts for each image.
        concentration: of each block, 0 to 1, averaged over the images measured.
    """

    network: str
    epoch: int
    maps: tuple[Tensor, ...]
    predicted: tuple[str, ...]
    concentration: tuple[float, ...]


@dataclass(frozen=True)
class Attention:
    """Where the networks of one run look, at one or several epochs.

    Attributes:
        about: the run, in words.
        split: from which the images are.
        rows: of each image in the split.
        images: (N, H, W, 3), 0 to 1, before normalisation.
        labels: the class of each image.
        looks: of every network at every epoch, epoch by epoch, the deployed network first.
        measured: number of images of the split over which the concentration is averaged.
    """

    about: str
    split: str
    rows: tuple[int, ...]
    images: Tensor
    labels: tuple[str, ...]
    looks: tuple[Look, ...]
    measured: int

    @property
    def epochs(self) -> list[int]:
        return list(dict.fromkeys(look.epoch for look in self.looks))

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(look.network for look in self.looks))

    @property
    def blocks(self) -> int:
        """Of the deepest network; the maps of a network with fewer blocks stand in the last columns."""
        return max(len(look.maps) for look in self.looks)

    def of(self, network: str, epoch: int) -> Look | None:
        """Where a network looks at an epoch; None if it was not measured there."""
        return next((look for look in self.looks if (look.network, look.epoch) == (network, epoch)), None)


def arrays(attention: Attention) -> dict[str, Any]:
    """The numbers of the picture, as they are before scaling, for an npz.

    ``rows``, ``labels``, ``images`` (N, H, W, 3) from 0 to 1, ``epochs``; of each network its
    ``<network>_block_<i>`` (epochs, N, H_i, W_i), ``<network>_predicted`` (epochs, N) and
    ``<network>_concentration`` (epochs, blocks).
    """
    import numpy as np

    named: dict[str, Any] = {
        "rows": np.array(attention.rows),
        "labels": np.array(attention.labels),
        "images": attention.images.numpy(),
        "epochs": np.array(attention.epochs),
    }
    for network in attention.networks:
        looks = [look for look in attention.looks if look.network == network]
        key = network.replace(" ", "_").replace("-", "_")
        first = attention.blocks - len(looks[0].maps) + 1
        for number, maps in enumerate(zip(*(look.maps for look in looks), strict=True), first):
            named[f"{key}_block_{number}"] = np.stack([each.numpy() for each in maps])
        named[f"{key}_predicted"] = np.array([look.predicted for look in looks])
        named[f"{key}_concentration"] = np.array([look.concentration for look in looks])
    return named


def to_npz(attention: Attention) -> bytes:
    """:func:`arrays` as a file: the same numbers give the same bytes."""
    import numpy as np

    out = io.BytesIO()
    np.savez_compressed(out, **arrays(attention))
    return out.getvalue()


def to_csv(attention: Attention) -> str:
    """How concentrated the maps are: a line an epoch, network and block."""
    rows = []
    for look in attention.looks:
        first = attention.blocks - len(look.concentration) + 1
        for block, value in enumerate(look.concentration, first):
            rows.append(
                {
                    "epoch": look.epoch,
                    "network": look.network,
                    "block": block,
                    "concentration_percent": f"{100 * value:.4f}",
                    "split": attention.split,
                    "images": attention.measured,
                }
            )
    return csv_text(rows)


def definition(attention: Attention) -> str:
    """What the numbers of :func:`to_rich` are."""
    return (
        "Concentration: share of the attention in the strongest quarter of the positions, percent (25: the "
        "same everywhere, 100: all of it there; compare networks at the same block); mean over "
        f"{count(attention.measured, 'image')} of the {attention.split} split."
    )


def to_rich(attention: Attention) -> Table:
    """How concentrated the maps are, for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("epoch", justify="right")
    table.add_column("network")
    for block in range(1, attention.blocks + 1):
        table.add_column(f"block {block}", justify="right")
    for i, look in enumerate(attention.looks):
        shown = [""] * (attention.blocks - len(look.maps)) + [f"{100 * c:.1f}" for c in look.concentration]
        last = i + 1 == len(attention.looks) or attention.looks[i + 1].epoch != look.epoch
        table.add_row(str(look.epoch), Text(look.network), *shown, end_section=last)
    return table
