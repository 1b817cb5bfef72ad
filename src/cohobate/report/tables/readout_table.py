"""The read-outs of a comparison as a table: rows of text, and CSV at full precision."""

from __future__ import annotations

from typing import Any

from .comparison import Comparison, Entry
from .readouts import DIVERSITY, ReadOut
from .text import csv_text, mean_std, spelled

PEER_HEADINGS = dict(zip(DIVERSITY, ("agreement s", "disagreement", "Q"), strict=True))


def readout_caption(comparison: Comparison) -> str:
    """What the numbers of :func:`readout_rows` are."""
    metric = comparison.metric
    text = (
        f"Every read-out on the {comparison.split} split at the last epoch: {metric.title}"
        f"{spelled(metric, ' in ')}, mean ± sample standard deviation over seeds."
    )
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
    columns = _peer_columns(comparison)
    has_top5 = any(readout.top5_error is not None for readout in _readouts(comparison))
    return [
        {
            "method": entry.label,
            "read-out": readout.name + _role(readout),
            comparison.metric.title: mean_std(readout.headline),
            **({"top-5 error": mean_std(readout.top5_error)} if has_top5 else {}),
            **{text: mean_std(getattr(readout, key), 3) for key, text in columns.items()},
        }
        for entry in comparison.entries
        for readout in entry.readouts
    ]


def _role(readout: ReadOut) -> str:
    """What the read-out is besides one of several: deployed, reported in the main table, or both."""
    if readout.deployed:
        return " (deployed)"
    return " (reported)" if readout.reported else ""


def readouts_csv(comparison: Comparison) -> str:
    """One line a read-out, full precision; an empty cell is a number that cannot be given."""
    name = comparison.metric.name
    return csv_text([_csv_row(entry, r, name) for entry in comparison.entries for r in entry.readouts])


def _csv_row(entry: Entry, readout: ReadOut, metric: str) -> dict[str, Any]:
    others = {key: getattr(readout, key) for key in ("top5_error", *DIVERSITY)}
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


def _readouts(comparison: Comparison) -> list[ReadOut]:
    return [readout for entry in comparison.entries for readout in entry.readouts]
