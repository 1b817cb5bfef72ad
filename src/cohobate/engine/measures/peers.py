"""The mean over peers of what is measured of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

PEER_MEAN = "peer_mean"
"""The read-out whose measures are the means over the peers."""


def check_peers(peers: Sequence[str], names: Collection[str]) -> None:
    """Check the names of peers.

    Args:
        peers: names of read-outs that learn side by side.
        names: of all read-outs.

    Raises:
        ValueError: a peer that is no read-out, or a read-out that is itself called ``peer_mean``.
    """
    for peer in peers:
        if peer not in names:
            raise ValueError(f"the peer {peer!r} is no read-out; the read-outs are {', '.join(names)}")
    if PEER_MEAN in names:
        raise ValueError(f"no read-out may be called {PEER_MEAN!r}: that is the mean over the peers")


def mean_of(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each measure over the peers, all of them measured on the same images.

    Args:
        measured: measure -> its value, or a list of one a class, None where a class has none.
    """
    return {key: _mean([each[key] for each in measured]) for key in measured[0]}


def _mean(values: Sequence[Any]) -> Any:
    if isinstance(values[0], list):
        return [None if None in each else fmean(each) for each in zip(*values, strict=True)]
    return values[0] if isinstance(values[0], int) else fmean(values)
