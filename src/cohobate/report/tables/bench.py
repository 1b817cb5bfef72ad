"""Forms of networks beside each other: cost, size and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...config.words import count
from ...runs.bench import Bench, Spread
from .text import NOTHING, millions_of

if TYPE_CHECKING:
    from rich.table import Table


def bench_rows(bench: Bench) -> list[dict[str, str]]:
    """A row a network and form, heading -> text."""
    return [
        {
            "network": row.network,
            "form": row.form,
            "parameters": NOTHING if row.parameters is None else f"{row.parameters:,}",
            "MACs": NOTHING if row.macs is None else millions_of(row.macs, 2),
            "file, MiB": f"{row.size / 2**20:.2f}",
            "latency, ms": _spread(row.latency, 3),
            "images/s": _spread(row.throughput, 0),
        }
        for row in bench.rows
    ]


def _spread(spread: Spread, digits: int) -> str:
    """0.613 [0.601, 0.655]"""
    return f"{spread.median:,.{digits}f} [{spread.low:,.{digits}f}, {spread.high:,.{digits}f}]"


def bench_notes(bench: Bench) -> list[str]:
    """How it was measured."""
    single, large = bench.rounds
    version = "" if bench.onnxruntime is None else f", onnxruntime {bench.onnxruntime}"
    elsewhere = sorted({row.device for row in bench.rows if row.device != "cpu"})
    devices = (
        f" PyTorch computes on {', '.join(elsewhere)}, ONNX on the CPU; the way there and back is part of "
        "the time."
        if elsewhere
        else ""
    )
    shown = "; ".join(f"{shape}: {where}" for shape, where in bench.images.items())
    return [
        f"Latency: one image at a time, {count(single, 'round')}. Images/s: in batches of {bench.batch}, "
        f"{count(large, 'round')}. Median, and in brackets the quartiles: half of the rounds lie between "
        "them. In each round every network takes its turn on the same images.",
        f"From images as bytes to logits, with {count(bench.threads, 'thread')} on {bench.processor}; torch "
        f"{bench.torch}{version}.{devices}",
        f"Images: {shown}.",
    ]


def to_rich(bench: Bench) -> Table:
    """The table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    rows, table = bench_rows(bench), Table()
    for heading in rows[0]:
        side: Any = "left" if heading in ("network", "form") else "right"
        table.add_column(heading, justify=side, overflow="fold", no_wrap=heading != "network")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table
