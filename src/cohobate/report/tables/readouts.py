"""Everything that was measured of a method, over seeds: the leader, each peer, their mean, the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runs.reading import Run
from ..figures.peers import BOTH_RIGHT, diversity
from .stats import Stat

DIVERSITY = ("agreement", "disagreement", "q_statistic")


@dataclass(frozen=True)
class ReadOut:
    """One read-out of one method at the last epoch, over the seeds that measured it.

    Attributes:
        name: as the method calls it; ``peer_mean`` is the mean over the peers.
        deployed: whether it is the one that the main table speaks of.
        top1_error: percent.
        top5_error: percent; None where no seed recorded it.
        agreement, disagreement, q_statistic: of the peers, none of them in percent
            (:mod:`cohobate.analysis.diversity`); None but for ``peer_mean``, and where undefined.
    """

    name: str
    deployed: bool
    top1_error: Stat
    top5_error: Stat | None
    agreement: Stat | None
    disagreement: Stat | None
    q_statistic: Stat | None


def read_outs(runs: Sequence[Run], split: str) -> list[ReadOut]:
    """The read-outs of finished runs that differ by their seed only, in the order they were measured."""
    measured = [run.outcome["last"].get(split) or {} for run in runs]
    names = dict.fromkeys(name for found in measured for name in found)
    return [
        _read_out(name, name == runs[0].predictor, [found[name] for found in measured if name in found])
        for name in names
    ]


def _read_out(name: str, deployed: bool, measured: Sequence[Mapping[str, Any]]) -> ReadOut:
    diversities = [diversity(m[BOTH_RIGHT]) for m in measured if BOTH_RIGHT in m]
    return ReadOut(
        name,
        deployed,
        Stat.of([m["top1_error"] for m in measured]),
        _stat(measured, "top5_error"),
        *(_stat(diversities, key) for key in DIVERSITY),
    )


def _stat(measured: Sequence[Mapping[str, Any]], key: str) -> Stat | None:
    values = [m[key] for m in measured if m.get(key) is not None]
    return Stat.of(values) if values else None
