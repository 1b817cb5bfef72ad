"""``cohobate residuals``: how far the students of a run are from their teacher, stage by stage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from ..config.groups import Group
from .console import show
from .parsing import parsed_alone

ABOUT = """\
Measure how far the students of a finished run are from their teacher, stage by stage, and draw their
logits: table 8 and figures 4 to 6 of ResKD (Li et al., 2021).
  cohobate residuals runs/reskd
  cohobate residuals runs/reskd-20 runs/reskd-14 runs/reskd-8 --out figure5.png

RUN deploys a sum of networks: a run of reskd, ensemble or trained_together. Each S_i is compared with the
teacher on the images that S_0 gets wrong and a later S_i right, and on all images: accuracy, size,
energy, L2 distance of logits (which is GI/C_1, the bound of the gap of informativeness) and of
probabilities, the gap of informativeness itself, and the share k_i that R_i takes away. The picture shows
the logits of every S_i in the plane of the teacher's first two principal components; of several runs, which
must share teacher and S_0, the last S_i of each. The numbers are written beside it as .csv.
"""


class Command(Group):
    """The runs and the images."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = Field(
        description="Folder of a finished run; or of several that have the same teacher and S_0."
    )
    split: Literal["test", "val"] = Field("test", description="Split that the images are from.")
    images: Literal["named", "all"] = Field(
        "named",
        description="Images of the picture: those that S_0 gets wrong and a later S_i right, or all.",
    )
    gi_images: int = Field(
        500,
        ge=0,
        description="Number of images, evenly spaced, over which the gap of informativeness is averaged, of "
        "the named images and of all; 0 leaves it out. It takes a backward pass for each image and S_i.",
    )
    teacher: str | None = Field(
        None,
        description="Teacher to compare with, as --teacher of `cohobate train`; by default that of the run.",
    )
    out: Path | None = Field(
        None,
        description="Picture to write, a .png; by default residuals.png in the run's folder, or in the one "
        "that holds all runs.",
    )


def main(arguments: list[str]) -> None:
    """Measure and draw how far each student of the sum that RUN deploys is from the teacher."""
    command = parsed_alone("cohobate residuals", arguments, Command, ABOUT)
    from ..report.tables.residuals import definition, to_rich
    from .gaps import gaps_of_runs, write_gaps
    from .looking import check_picture

    # One run's own folder, or the one that holds all of them.
    folders = [run.absolute() for run in command.runs]
    picture = command.out or Path(os.path.commonpath(folders) if folders else ".") / "residuals.png"
    check_picture(picture)
    residuals, cloud = gaps_of_runs(
        command.runs,
        split=command.split,
        images=command.images,
        gi_images=command.gi_images,
        teacher=command.teacher,
        say=print,
    )
    written = write_gaps(residuals, cloud, picture)
    for table in to_rich(residuals):
        show(table)
        print()
    print(definition(residuals))
    print("\n".join(str(path) for path in written))
