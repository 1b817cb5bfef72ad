"""What a method's other read-outs add to the network that is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table


class Beside(NamedTuple):
    """What a read-out adds to the deployed network, which it contains.

    Attributes:
        readout: its name.
        parameters, macs: in absolute numbers.
        parameter_ratio: parameters relative to the deployed network.
        operation_ratio: multiply-accumulates and two for each output of a batch norm, relative to the same.
    """

    readout: str
    parameters: int
    macs: int
    parameter_ratio: float
    operation_ratio: float


def beside_table(lines: Sequence[Beside]) -> Table:
    """A row for each read-out."""
    from rich.table import Table

    table = Table(title="beside the deployed network")
    for column in ("read-out", "parameters", "MACs", "parameters x", "operations x"):
        table.add_column(column, justify="left" if column == "read-out" else "right")
    for line in lines:
        ratios = f"{line.parameter_ratio:.2f}", f"{line.operation_ratio:.2f}"
        table.add_row(line.readout, f"{line.parameters:,}", f"{line.macs:,}", *ratios)
    return table
