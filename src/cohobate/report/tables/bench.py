"""Forms of networks beside each other: cost, size and speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...config.words import count
from ...runs.bench import Bench, Spread
from .text import NOTHING, millions_of

if TYPE_CHECKING:
    from rich.console import Group
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
            "latency, ms": _spread(row.latency, _digits(row.latency.median)),
            "images/s": _spread(row.throughput, 0),
        }
        for row in bench.rows
    ]


def _spread(spread: Spread, digits: int) -> str:
    """0.613 [0.601, 0.655]"""
    return f"{spread.median:,.{digits}f} [{spread.low:,.{digits}f}, {spread.high:,.{digits}f}]"


def _digits(milliseconds: float) -> int:
    """Behind the point: at least four digits in all, and no more of a long time than the clock can tell."""
    return 3 if milliseconds < 10 else 2 if milliseconds < 100 else 1


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


def to_rich(bench: Bench) -> Group:
    """The table for a terminal of 80 columns: the name of a network stands on a line above its rows."""
    from rich.console import Group
    from rich.text import Text

    networks: dict[str, list[list[str]]] = {}
    for row in bench_rows(bench):
        networks.setdefault(row.pop("network"), []).append([_broken(cell) for cell in row.values()])
    headings = [heading.replace(", ", ",\n") for heading in row]
    cells = zip(headings, *(row for rows in networks.values() for row in rows), strict=True)
    widths = [max(len(line) for cell in column for line in cell.splitlines()) for column in cells]
    parts: list[Table | Text] = [_part(headings, widths, [])]
    for name, rows in networks.items():
        parts += [Text(name, "bold", overflow="fold"), _part(headings, widths, rows), Text()]
    return Group(*parts)


def _part(headings: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[str]]) -> Table:
    """Rows of the table, or without rows its headings."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=not rows, show_edge=False, pad_edge=False)
    table.padding = (0, 0)
    for at, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        table.add_column(heading, justify="right" if at else "left", width=width, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _broken(cell: str) -> str:
    """PyTorch fp32, adaptive, and 0.613 [0.601, 0.655], over two lines."""
    return cell.replace(" [", "\n[") if "[" in cell else cell.replace(", ", ",\n")
