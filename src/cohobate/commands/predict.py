"""``cohobate predict``: what a network says of images, as a table, CSV, lines of JSON, or masks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..config.text import shown
from ..config.words import count
from .handed import require_network
from .parsing import parsed_alone
from .predict_options import Command, Counts, destination, keep_inputs
from .task_at import segments

if TYPE_CHECKING:
    from ..data.given import Given

ABOUT = """\
Predict the classes of images: cohobate predict RUN photos/ --top-k 3 --out photos.csv

RUN is a finished run, computed in its precision as `cohobate evaluate` measures it; or a file: its
deployed.safetensors, or a model.onnx or model.safetensors of `cohobate export`. IMAGES are files and
folders; folders are read with all below them. Pictures of any size are read as those of the
training were: turned upright, in its colours, cut, padded or squashed to its size.

A line an image: path, label and probability; with --top-k also label_2, probability_2 ...; with --adaptive
also stage, the network after which the image left, from 0. What cannot be read is named on stderr and left
out. Lines of csv and jsonl appear as batches are done, a table at the end; a file of --out appears whole at
the end, or not at all.

A network that gives every pixel a class writes into the folder --out, which it needs: masks/NAME.png, a
number for each pixel of the picture, at its own size; overlays/NAME.png, the picture under the colours of
the classes; shares.csv, the share of each class in each picture; classes.csv, the number and the colour of
each class. Nothing that is there already is replaced.
"""


def main(arguments: list[str]) -> None:
    """Predict the classes of IMAGES by a run, or by a file of `cohobate export`."""
    command = parsed_alone("cohobate predict", arguments, Command, ABOUT)
    require_network(command.run)
    written, skipped = masks(command) if segments(command.run) else classes(command)
    if skipped:
        images = count(written + skipped, "image")
        print(f"{skipped:,} of {images} cannot be read and are left out", file=sys.stderr)
    if command.out is not None:
        print(f"{shown(command.out)}  {count(written, 'image')}")


def classes(command: Command) -> Counts:
    """Predict the class of each image."""
    if command.overlay is not None:
        from .predict_files import opened_for

        opened_for(command)  # of what cannot be opened nothing else is said
        raise ValueError(
            f"--overlay is for networks that give every pixel a class, and {shown(command.run)} gives each "
            "image one; leave it out"
        )
    to = destination(command)
    named = named_files(command)
    if to.out is not None:
        keep_inputs(to.out, command.run, [file.path for file in named.files])
    from .predict_files import predict_files

    return predict_files(command, to, named)


def masks(command: Command) -> Counts:
    """Predict the class of each pixel."""
    from .predict_folder import folder_of

    folder = folder_of(command)
    named = named_files(command)
    places = folder.places([file.path for file in named.files])
    from .predict_masks import predict_masks

    return predict_masks(command, folder, named, places)


def named_files(command: Command) -> Given:
    """The images that are named; notes on them are printed."""
    from ..data.given import given

    named = given(command.images)
    for note in named.notes:
        print(f"note: {note}", file=sys.stderr)
    return named
