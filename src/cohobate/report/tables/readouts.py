"""Every read-out of a method over its seeds: the leader, each peer, their mean, the ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runs.reading import Run
from .stats import Stat

BOTH_RIGHT = "both_right"
"""Key of the recorded shares of images that both of two peers get right."""

DIVERSITY = ("agreement", "disagreement", "q_statistic")


@dataclass(frozen=True)
class ReadOut:
    """One read-out of one method at the last epoch, over the seeds that measured it.

    Attributes:
        name: as the method calls it; ``peer_mean`` is the mean over the peers.
        deployed: whether it is that of the deployed network.
        reported: whether it is the one that the main table is about.
        headline: the headline metric.
        top5_error: percent; None where no seed recorded it.
        parameters, macs: that its logits need; None where no seed recorded it, and for ``peer_mean``.
        agreement, disagreement, q_statistic: of the peers, none of them in percent
            (:mod:`cohobate.analysis.diversity`); None except for ``peer_mean``, and where undefined.
    """

    name: str
    deployed: bool
    reported: bool
    headline: Stat
    top5_error: Stat | None
    parameters: Stat | None
    macs: Stat | None
    agreement: Stat | None
    disagreement: Stat | None
    q_statistic: Stat | None


def read_outs(runs: Sequence[Run], split: str) -> list[ReadOut]:
    """The read-outs of finished runs that differ by their seed only, in the order they were measured."""
    seeds = [_with_costs(run, split) for run in runs]
    names = dict.fromkeys(name for seed in seeds for name in seed)
    return [_read_out(runs[0], name, [seed[name] for seed in seeds if name in seed]) for name in names]


def _with_costs(run: Run, split: str) -> dict[str, dict[str, Any]]:
    """Read-out -> its measures at the last epoch, and its costs where they are recorded."""
    measured, spent = run.outcome["last"].get(split) or {}, costs(run.outcome)
    return {name: {**measures, **spent.get(name, {})} for name, measures in measured.items()}


def costs(result: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    """Read-out -> ``parameters`` and ``macs``; older results record none."""
    recorded: Mapping[str, Mapping[str, int]] = result.get("readouts", {})
    return recorded


def reporting(runs: Sequence[Run], readout: str) -> list[Run]:
    """The runs for a table of this read-out; those that do not have it are reported by the deployed one.

    Raises:
        ValueError: none of the finished runs has it.
    """
    measured = {run.folder: _names(run) for run in runs if run.result is not None}
    if not any(readout in names for names in measured.values()):
        known = dict.fromkeys(name for names in measured.values() for name in names)
        raise ValueError(f"no run has a read-out {readout!r}; the read-outs are: {', '.join(known)}")
    return [run.reporting(readout if readout in measured.get(run.folder, ()) else None) for run in runs]


def _names(run: Run) -> list[str]:
    last = run.outcome["last"]
    return list(dict.fromkeys(name for split in ("val", "test") for name in last.get(split) or {}))


def reported_notes(runs: Sequence[Run]) -> list[str]:
    """A sentence for each method of finished runs whose reported read-out is not the deployed one."""
    others = {run.name: run for run in runs if run.readout != run.predictor}
    return [
        f"The numbers of {name} are those of its read-out {run.readout}{_cost_too(run)}; deployed is "
        f"{run.predictor}."
        for name, run in others.items()
    ]


def _cost_too(run: Run) -> str:
    return ", its size and cost too" if run.readout in run.outcome.get("readouts", {}) else ""


def _read_out(run: Run, name: str, measured: Sequence[Mapping[str, Any]]) -> ReadOut:
    diversities = [diversity(m[BOTH_RIGHT]) for m in measured if BOTH_RIGHT in m]
    return ReadOut(
        name,
        name == run.predictor,
        name == run.readout,
        Stat.of([m[run.headline.name] for m in measured]),
        *(_stat(measured, key) for key in ("top5_error", "parameters", "macs")),
        *(_stat(diversities, key) for key in DIVERSITY),
    )


def _stat(measured: Sequence[Mapping[str, Any]], key: str) -> Stat | None:
    values = [m[key] for m in measured if m.get(key) is not None]
    return Stat.of(values) if values else None


def diversity(both_right: Sequence[Sequence[float]]) -> dict[str, float | None]:
    """``agreement``, ``disagreement`` and ``q_statistic`` of the recorded shares, 0 to 1, (T, T).

    None of them is in percent; see :func:`cohobate.analysis.diversity.of_shares`.
    """
    import torch  # here, so that a report without peers does not wait for it

    from ...analysis.diversity import of_shares

    return of_shares(torch.tensor(both_right, dtype=torch.float64))
