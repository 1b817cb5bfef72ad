"""``cohobate attention``: attention maps of the networks of a run, for each block and epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from ..config.groups import Group
from .console import show
from .parsing import parsed_alone

ABOUT = """\
Draw the attention maps of the networks of a run: for each block the map over the image.
Only the weights of epochs that were named at training can be drawn:
  cohobate train METHOD --keep-epochs 1,10,30 --out runs/mine
  cohobate attention runs/mine --epochs 1,30 --rows 5,17

Each network of the method that returns feature maps has a row: the classifier, below it the
self-teacher, the peers or the teacher. A map is the mean of the squares over a block's channels,
scaled to its own range. The maps are written beside the picture as .npz. Their concentration, which
is the share of the attention in the strongest quarter of the positions, is printed and written as .csv.
"""


class Command(Group):
    """The run, the epochs and the images to draw."""

    run: Annotated[Path, tyro.conf.Positional] = Field(
        description="Folder of a run of `cohobate train`, `compare` or `sweep`, finished or not."
    )
    epochs: tuple[int, ...] = Field(
        (), description="Epochs to draw, of those that --keep-epochs kept; by default all, or the last one."
    )
    images: int | None = Field(
        None, description="Number of images to draw, each of another class; by default 3."
    )
    rows: tuple[int, ...] = Field(
        (),
        description="Positions in the split, from 0, of the images to draw; by default --images are chosen.",
    )
    split: Literal["val", "test"] = Field("val", description="Split that the images are from.")
    out: Path | None = Field(
        None, description="Picture to write, a .png; by default attention-SPLIT.png in the run's folder."
    )


def main(arguments: list[str]) -> None:
    """Draw the attention maps of the networks of RUN, for each block and epoch."""
    command = parsed_alone("cohobate attention", arguments, Command, ABOUT)
    from ..report.tables.attention import definition, to_rich
    from .looking import attention_of_run, check_picture, write_attention

    picture = command.out or command.run / f"attention-{command.split}.png"
    check_picture(picture)
    attention = attention_of_run(
        command.run,
        command.epochs,
        images=command.images,
        rows=command.rows,
        split=command.split,
        say=print,
    )
    written = write_attention(attention, picture)
    print(attention.about)
    show(to_rich(attention))
    print(definition(attention))
    print("\n".join(str(path) for path in written))
