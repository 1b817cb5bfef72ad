"""``cohobate attention``: where the networks of a run look, block by block, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from ..config.groups import Group
from .console import show
from .parsing import parsed_alone

ABOUT = """\
Draw where the networks of a run look: the attention map of each block over the image.
Only the weights of epochs that were named at training can be drawn:
  cohobate train METHOD --keep-epochs 1,10,30 --out runs/mine
  cohobate attention runs/mine --epochs 1,30 --rows 5,17

A row a network: the classifier, below it whatever else the method has that gives feature maps
(its self-teacher, its peers, its teacher). A map is the mean of the squares over a block's
channels, scaled to its own range. Beside the picture lie the maps as .npz and, as .csv and printed,
how concentrated they are: the share of the attention in the strongest quarter of the positions.
"""


class Command(Group):
    """Whose weights, and which images."""

    run: Annotated[Path, tyro.conf.Positional] = Field(
        description="The run's folder, finished or not; its method is built again by name."
    )
    epochs: tuple[int, ...] = Field((), description="Of those kept, by default all; none kept: the last one.")
    images: int | None = Field(None, description="How many, each of another class; by default 3.")
    rows: tuple[int, ...] = Field((), description="Rows of the split, to show these images.")
    split: Literal["val", "test"] = Field("val", description="Whose images.")
    out: Path | None = Field(None, description="The picture, a .png; by default in the run's folder.")


def main(arguments: list[str]) -> None:
    """Draw where the networks of RUN look, block by block, epoch by epoch."""
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
