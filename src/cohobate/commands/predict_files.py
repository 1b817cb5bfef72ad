"""The predictions for files, computed batch by batch and written as they come, or whole into a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from ..config.text import shown
from ..config.words import count
from ..data.decoded import Decoder, batches, chunks
from ..data.given import Given
from ..engine.checkpoint import write_bytes
from ..report.tables.predictions import Prediction, columns, csv_row, csv_text, json_line, to_rich
from .bar import Bar
from .console import show, text_of
from .predict_batches import (
    Answered,
    answered,
    batch_size_for,
    check_top_k,
    nothing_readable,
    ranked,
    refuse_stage,
)
from .predict_options import Counts
from .ready import ReadyNetwork
from .ready_opened import ready_network

if TYPE_CHECKING:
    from .predict_options import Command, Destination


def predict_files(command: Command, to: Destination, named: Given) -> Counts:
    """Predict the files that were named, and write what the network says of them.

    Raises:
        ValueError: the options do not go with the network, or, with ``strict``, a file cannot be read.
        RunError: no file can be read, the network predicts nothing finite, or the output cannot be written.
    """
    ready = opened_for(command)
    top_k = command.top_k or 1
    check_top_k(top_k, ready.about.classes, ready.name)
    # Lines that appear on the terminal meanwhile would run into a bar.
    streams = to.out is None and to.format != "table"
    with Bar("images", len(named.files), shown=not (streams and sys.stdout.isatty())) as bar:
        skipped = Skipping(command.strict, bar.say)
        for name, why in named.broken:
            skipped(name, why)
        output = Output(to, top_k, streams)
        for batch in answered_files(command, ready, named, skipped, bar.reach):
            output.take(predictions(batch, ready, named, top_k))
    if not output.count:
        raise nothing_readable(skipped.count, skipped.first)
    output.end(f"{ready.name}, {count(output.count, 'image')}")
    return Counts(output.count, skipped.count)


def opened_for(command: Command) -> ReadyNetwork:
    """The network that is asked for, on as many threads.

    Raises:
        ValueError, FileNotFoundError, ImportError, RunError: as
            :func:`cohobate.commands.ready_opened.ready_network`; or it is one of a cascade.
    """
    if command.threads is not None:
        torch.set_num_threads(command.threads)
    ready = ready_network(
        command.run,
        weights=command.weights,
        device=command.device,
        threads=command.threads,
        adaptive=command.adaptive,
    )
    refuse_stage(ready)
    return ready


class Skipping:
    """Names what cannot be read, and counts it.

    Args:
        strict: raise an error instead.
        say: prints a line.
    """

    def __init__(self, strict: bool, say: Callable[[str], None]) -> None:
        self.strict, self.say = strict, say
        self.count, self.first = 0, ""

    def __call__(self, name: str, why: str) -> None:
        """A file that cannot be read.

        Raises:
            ValueError: it is not to be skipped.
        """
        line = f"{shown(name)}: {why}"
        if self.strict:
            raise ValueError(f"cannot read {line}; --strict stops at the first such image")
        self.count += 1
        self.first = self.first or line
        self.say(f"skipped {line}")


def answered_files(
    command: Command, ready: ReadyNetwork, named: Given, skipped: Skipping, reach: Callable[[int], None]
) -> Iterator[Answered]:
    """What the network says of each batch; ``reach`` is told how many files are decoded."""
    files, about = named.files, ready.about
    decoder = Decoder([file.path for file in files], about.shape[1:], ready.reading)
    pieces = batches(
        chunks(decoder, command.workers, reach),
        command.batch_size or batch_size_for(about.shape, about.task, len(about.classes)),
        lambda row, why: skipped(files[row].name, why),
    )
    return answered(
        lambda pixels: ready.answers(pixels.permute(0, 3, 1, 2)), pieces, lambda row: shown(files[row].name)
    )


def predictions(batch: Answered, ready: ReadyNetwork, named: Given, top_k: int) -> list[Prediction]:
    """The predictions of a batch."""
    best, names = ranked(batch.logits, top_k), ready.about.classes
    left = [None] * len(batch.rows) if batch.stages is None else batch.stages.tolist()
    found = zip(batch.rows, best.classes.tolist(), best.probabilities.tolist(), left, strict=True)
    return [
        Prediction(named.files[row].name, [names[k] for k in classes], probabilities, stage)
        for row, classes, probabilities, stage in found
    ]


# ---------------------------------------------------------------- output


class Output:
    """Writes predictions: lines as they come to stdout, a file whole at the end.

    Args:
        to: where.
        top_k: classes of each.
        streams: whether lines are written as they come.
    """

    def __init__(self, to: Destination, top_k: int, streams: bool) -> None:
        self.to, self.top_k, self.streams = to, top_k, streams
        self.count = 0
        self._held: list[Prediction] = []
        self._texts: list[str] = []

    def take(self, batch: list[Prediction]) -> None:
        """The predictions of a batch."""
        if self.to.format == "table":
            self._held += batch
        elif self.streams:
            print(self._lines(batch), end="", flush=True)
        else:
            self._texts.append(self._lines(batch))
        self.count += len(batch)

    def end(self, title: str) -> None:
        """All are there.

        Raises:
            RunError: the file cannot be written; what was there is untouched.
        """
        if self.to.format == "table":
            table = to_rich(self._held, title)
            if self.to.out is None:
                show(table)
                return
            self._texts.append(text_of(table))
        if self.to.out is not None:
            write_bytes(self.to.out, "".join(self._texts).encode())

    def _lines(self, batch: list[Prediction]) -> str:
        if self.to.format == "jsonl":
            return "".join(map(json_line, batch))
        header = [] if self.count else [columns(self.top_k, batch[0].stage is not None)]
        return csv_text([*header, *map(csv_row, batch)])
