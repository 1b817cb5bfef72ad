"""The read-outs of a comparison as a table: rows of text, and CSV at full precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.metrics import TOP1_ERROR
from ...runs.reading import Run
from .comparison import Comparison, Entry
from .readouts import DIVERSITY, ReadOut, costs
from .stats import Stat
from .text import NOTHING, csv_text, heading, mean_std, millions, millions_of, spelled

COSTS = {"parameters": ("parameters", 2), "macs": ("MACs", 1)}
"""What a read-out costs: its heading, and digits after the point, as in the main table."""

PEER_HEADINGS = dict(zip(DIVERSITY, ("agreement s", "disagreement", "Q"), strict=True))


COST_CAPTION = (
    "Parameters and MACs are those that the read-out alone needs for one image: what several of its networks "
    "share counts once, and layers behind an early exit do not count."
)


def readout_caption(comparison: Comparison) -> str:
    """What the numbers of :func:`readout_rows` are."""
    metric = comparison.metric
    text = (
        f"Every read-out on the {comparison.split} split at the last epoch: {metric.title}"
        f"{spelled(metric, ' in ')}, mean ± sample standard deviation over seeds."
    )
    if _cost_columns(comparison):
        text += f" {COST_CAPTION}"
    if _fewer_seeds(comparison):
        text += " n: the seeds that have the read-out."
    if _peer_columns(comparison):
        text += (
            " Of the peers, in the row of their mean and not in percent: agreement s (1: right about "
            "the same images; about 0: by chance), disagreement (share of images that exactly one of two "
            "gets right) and Yule's Q (about 0: by chance), the last two as means over pairs."
        )
    return text


def readout_rows(comparison: Comparison) -> list[dict[str, str]]:
    """A row a read-out, heading -> text; empty where each method has only the one that is deployed."""
    if not comparison.has_readouts:
        return []
    columns, fewer = _peer_columns(comparison), _fewer_seeds(comparison)
    has_top5 = any(readout.top5_error is not None for readout in _readouts(comparison))
    return [
        {
            "method": entry.label,
            "read-out": readout.name + _role(readout),
            **({"n": str(readout.headline.n)} if fewer else {}),
            comparison.metric.title: mean_std(readout.headline),
            **({"top-5 error": mean_std(readout.top5_error)} if has_top5 else {}),
            **{
                text: _millions(getattr(readout, key), digits)
                for key, (text, digits) in _cost_columns(comparison).items()
            },
            **{text: mean_std(getattr(readout, key), 3) for key, text in columns.items()},
        }
        for entry in comparison.entries
        for readout in entry.readouts
    ]


def run_rows(run: Run) -> list[dict[str, str]]:
    """A row a read-out of a finished run, heading -> text; empty where it has one, or recorded no costs."""
    result = run.outcome
    split = "test" if result["last"]["test"] else "val"
    measured, spent = result["last"][split] or {}, costs(result)
    if len(spent) < 2:
        return []
    return [
        {
            "read-out": f"{name} (deployed)" if name == run.predictor else name,
            **cost_cells(cost),
            f"{split} {heading(run.headline)}": _percent(measured.get(name, {}).get(run.headline.name)),
        }
        for name, cost in spent.items()
    ]


def cost_cells(cost: Mapping[str, int]) -> dict[str, str]:
    """Heading -> text of the costs of a read-out; dashes if there are none."""
    return {
        text: millions_of(cost[key], digits) if key in cost else NOTHING
        for key, (text, digits) in COSTS.items()
    }


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"


def _role(readout: ReadOut) -> str:
    """What the read-out is besides one of several: deployed, reported in the main table, or both."""
    if readout.deployed:
        return " (deployed)"
    return " (reported)" if readout.reported else ""


def _millions(stat: Stat | None, digits: int) -> str:
    return NOTHING if stat is None else millions(stat, digits)


def readouts_csv(comparison: Comparison) -> str:
    """One line a read-out, full precision; an empty cell is a number that cannot be given."""
    name = comparison.metric.name
    return csv_text([_csv_row(entry, r, name) for entry in comparison.entries for r in entry.readouts])


def _csv_row(entry: Entry, readout: ReadOut, metric: str) -> dict[str, Any]:
    top5 = ("top5_error",) if metric == TOP1_ERROR.name else ()
    others = {key: getattr(readout, key) for key in (*top5, *COSTS, *DIVERSITY)}
    numbers = {
        f"{key}_{part}": None if stat is None else getattr(stat, part)
        for key, stat in {metric: readout.headline, **others}.items()
        for part in ("mean", "std")
    }
    about = {"label": entry.label, "method": entry.method, "readout": readout.name}
    return {
        **about,
        "deployed": readout.deployed,
        "reported": readout.reported,
        "n": readout.headline.n,
        **numbers,
    }


def _peer_columns(comparison: Comparison) -> dict[str, str]:
    """Those diversity measures that any method has, and their headings."""
    measured = {key for r in _readouts(comparison) for key in DIVERSITY if getattr(r, key) is not None}
    return {key: text for key, text in PEER_HEADINGS.items() if key in measured}


def _cost_columns(comparison: Comparison) -> dict[str, tuple[str, int]]:
    """Heading and digits of each cost; none where no run recorded what its read-outs cost."""
    return COSTS if any(r.parameters is not None for r in _readouts(comparison)) else {}


def _fewer_seeds(comparison: Comparison) -> bool:
    """Whether some seed of a method lacks a read-out that another has: ResKD may stop after another stage."""
    return any(r.headline.n < len(entry.seeds) for entry in comparison.entries for r in entry.readouts)


def _readouts(comparison: Comparison) -> list[ReadOut]:
    return [readout for entry in comparison.entries for readout in entry.readouts]
