"""Whether exported files of real runs predict what their networks predict, over whole test sets.

    OMP_NUM_THREADS=1 python benchmarks/exports.py RUN... [--readouts] [--data-root DIR] [--values 0-255]

Each finished run is exported as ``cohobate export`` does it, in memory, as ONNX and as .pt2; with --readouts
every predictor of the method, not only the deployed one. Both files and the network, in fp32, then predict
all images of the test split. A tie is an image whose two best logits are closer than 1e-4 in the network:
rounding may decide which is larger.

Printed: network, images, and of each file its size, the largest difference of a logit, and the images with
another label, how many of them ties. The network's own test error stands beside the one that the run recorded
(in its own precision, so runs in bf16 may differ a little).

Bar: no image with another label that is no tie, in either file of any run; else the exit status is 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from cohobate.commands.export_forms import READERS, Forms
from cohobate.commands.export_options import Asked, Command, readouts_of
from cohobate.commands.export_source import Source, source_of
from cohobate.commands.subject import On, images_to_check
from cohobate.config.forms import Form, Values
from cohobate.data.dataset import labelled
from cohobate.data.raw import pixels
from cohobate.inference.agreement import Agreement, agreement, all_of
from cohobate.runs.reading import read_run

FORMS: tuple[Form, ...] = ("onnx", "pt2")
PART = 1000
"""Images that are held in memory at once."""


class Row(NamedTuple):
    """A form of a network over a test set."""

    form: Form
    mib: float
    found: Agreement


def parts(source: Source, on: On) -> Iterator[tuple[Tensor, Tensor]]:
    """The test images of the run, uint8, and their labels."""
    dataset = images_to_check(source.of, on, print)
    if dataset is None or dataset.test is None:
        sys.exit(f"{source.of.run.folder}: its test images are not there; see --data-root")
    split = labelled(dataset.test(), "this measurement")
    for rows in torch.arange(len(split)).split(PART):
        yield pixels(split, rows.tolist()), split.y[rows]


def measure(asked: Asked) -> tuple[Source, list[Row], float]:
    """Rows of a network, and its test error in percent."""
    asked.check()
    source = source_of(asked)
    forms = Forms(source)
    data = {form: forms.written(form) for form in FORMS}
    readers = {form: READERS[form](data[form]) for form in FORMS}
    own, labels, others = [], [], {form: list[Tensor]() for form in FORMS}
    for images, y in parts(source, asked.on):
        shown = forms.deployable.normalisation.of_bytes(images, asked.command.values)
        own.append(all_of(forms.deployable, shown))
        labels.append(y)
        for form in FORMS:
            others[form].append(all_of(readers[form], shown))
    logits = torch.cat(own)
    wrong = float((logits.argmax(dim=1) != torch.cat(labels)).double().mean())
    rows = [Row(form, len(data[form]) / 2**20, agreement(logits, torch.cat(others[form]))) for form in FORMS]
    return source, rows, 100 * wrong


def report(name: str, source: Source, rows: list[Row], error: float) -> None:
    recorded = source.about.errors.get("test", {}).get("top1_error")
    beside = "" if recorded is None else f" ({recorded:.2f} recorded, {source.about.precision})"
    print(f"{name}: {source.about.method}, {source.about.readout}, test error {error:.2f}%{beside}")
    for row in rows:
        found = row.found
        missed = "" if found.other_labels == found.ties else "  missed"
        print(
            f"    {row.form:5} {row.mib:7.2f} MiB {found.images:6} images  difference {found.difference:.1e}"
            f"  other labels {found.other_labels}, ties {found.ties}{missed}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--readouts", action="store_true", help="every predictor, not only the deployed one")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--values", default="0-255", choices=get_args(Values))
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks, images, other, ties = 0, 0, 0, 0
    for run in options.runs:
        known = readouts_of(read_run(run).outcome)
        for readout in known if options.readouts else known[:1]:
            chosen = {"values": options.values, "data_root": options.data_root}
            command = Command.model_validate({"run": run, "format": FORMS, "readout": readout, **chosen})
            source, rows, error = measure(Asked(command))
            report(str(run), source, rows, error)
            networks += 1
            for row in rows:
                images += row.found.images
                other += row.found.other_labels
                ties += row.found.ties
    print(
        f"{networks} networks, {len(FORMS) * networks} files, {images} predictions, {other} other labels, of "
        f"which {ties} ties; bar, none but ties: {'met' if other == ties else 'missed'}"
    )
    return int(other != ties)


if __name__ == "__main__":
    sys.exit(main())
