"""``cohobate bench``: what the forms of networks cost, and how fast they are, side by side."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from ..config.groups import Group
from .console import show
from .parsing import WHOLE, parsed_alone
from .subject import On

ABOUT = """\
Measure networks side by side: parameters, multiply-accumulates, size of the file, latency of one image,
throughput in batches of 64, or fewer where every pixel of large images gets a class.

A RUN is measured as PyTorch computes it, in its precision and in fp32, as ONNX and as ONNX in int8, beside
its teacher; a file of the export in RUN/export is taken, and what is not there is made for the measurement
and not kept. A FILE (deployed.safetensors, model.safetensors, model.onnx, model.int8.onnx) is measured as it
is.
Several stand in one table. Other work on the machine shows in the spread.
"""


class Command(Group):
    """The networks, and how long they are measured."""

    networks: Annotated[tuple[Path, ...], tyro.conf.Positional, WHOLE] = Field(
        (), description="Folders of finished runs, and files of weights or ONNX."
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads that compute a batch on the CPU, in PyTorch and onnxruntime; by default as many "
        "as torch has.",
    )
    seconds: float = Field(
        20, gt=0, description="How long the rounds of latency and those of throughput take together, about."
    )
    device: str | None = Field(
        None,
        description="Device of PyTorch: cpu, cuda, cuda:1 ...; by default that of the run, and of a file a "
        "GPU if there is one. ONNX is computed on the CPU.",
    )
    data: str | None = Field(
        None, description="Images, as --data of `cohobate train`; by default those of the run."
    )
    data_root: Path | None = Field(
        None, description="Folder with the files of the named data sets; by default that of the run."
    )
    format: Literal["table", "json"] = Field(
        "table", description="table, for people; json, an object with every number."
    )


def main(arguments: list[str]) -> None:
    """Measure RUNs and FILEs side by side: cost, size, latency, throughput, in PyTorch, ONNX and int8."""
    command = parsed_alone("cohobate bench", arguments, Command, ABOUT)
    if not command.networks:
        raise ValueError("give what is to be measured: folders of finished runs, or exported files")
    from ..report.tables.bench import bench_notes, to_rich
    from .bench_times import bench

    # Notes would break the JSON, or stand above a table that is on its way into a file.
    measured = bench(
        command.networks,
        threads=command.threads,
        seconds=command.seconds,
        device=command.device,
        on=On(command.data, command.data_root),
        say=partial(print, file=sys.stderr),
    )
    if command.format == "json":
        print(measured.model_dump_json(indent=1))
        return
    show(to_rich(measured))
    print("\n".join(bench_notes(measured)))
