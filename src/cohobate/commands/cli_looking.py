"""Commands that look: at a run, at a network, at what there is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .cli_parsing import show, spaced


def evaluate_command(arguments: list[str]) -> None:
    def evaluate(
        run: tyro.conf.Positional[Path],
        split: Literal["test", "val"] | None = None,
        weights: Literal["last", "best"] = "last",
    ) -> None:
        """Measure a finished run's deployed network.

        Args:
            run: The run's folder.
            split: Which images; by default test, or val where the data has no test split.
            weights: Of the last epoch, or of the best one on the validation split.
        """
        from ..report.tables.terminal import measures_table
        from .evaluate import evaluate_run

        measured, classes, split = evaluate_run(run, split, weights)
        title = f"{run}, {split} split, {weights} weights, {measured['images']:,} images"
        show(measures_table(title, measured, classes))

    tyro.cli(evaluate, args=arguments, prog="cohobate evaluate")


def report_command(arguments: list[str]) -> None:
    def report(
        runs: tyro.conf.Positional[tuple[Path, ...]], out: Path | None = None, baseline: str | None = None
    ) -> None:
        """Write the page of a run, or the table and page of several.

        Args:
            runs: Run folders, or folders that hold some.
            out: Where to write; by default the run's folder, or the folder above all runs.
            baseline: Label that gains are measured against; by default `baseline`, or the first.
        """
        from ..report.files import comparison_files, run_files
        from ..report.tables.comparison import compare
        from ..report.tables.table import to_rich
        from ..runs.folder import write_files
        from ..runs.reading import find_runs, read_run

        if not runs:
            raise ValueError("name at least one run folder")
        found = [read_run(folder) for given in runs for folder in find_runs(given)]
        if len(found) == 1:
            (page,) = write_files(out or found[0].folder, run_files(found[0]))
            print(page)
            return
        finished = [run for run in found if run.result is not None]
        if not finished:
            raise ValueError(f"none of the {len(found)} runs has finished; name one to see its curves")
        labels = [str((run.result or {})["label"]) for run in finished]
        first = baseline or ("baseline" if "baseline" in labels else labels[0])
        comparison = compare(finished, first)
        folder = out or Path(os.path.commonpath([run.folder.absolute() for run in found]))
        written = write_files(folder, comparison_files(comparison, found))
        show(to_rich(comparison))
        print("\n".join(str(path) for path in written))

    tyro.cli(report, args=arguments, prog="cohobate report")


ATTENTION = """\
Draw where the networks of a run look: the attention map of each block over the image.
Only the weights of epochs that were named at training can be drawn:
  cohobate train METHOD --keep-epochs 1,10,30 --out runs/mine
  cohobate attention runs/mine --epochs 1,30 --rows 5,17

A row a network: the classifier, below it whatever else the method has that gives feature maps
(its self-teacher, its peers, its teacher). A map is the mean of the squares over a block's
channels, scaled to its own range. Beside the picture lie the maps as .npz and, as .csv and printed,
how concentrated they are: the share of the attention in the strongest quarter of the positions.
"""


def attention_command(arguments: list[str]) -> None:
    from pydantic import Field, create_model

    fields: dict[str, Any] = {
        "run": (
            Annotated[Path, tyro.conf.Positional],
            Field(description="The run's folder, finished or not; its method is built again by name."),
        ),
        "epochs": (
            tuple[int, ...],
            Field((), description="Of those kept, by default all; none kept: the last one."),
        ),
        "images": (int | None, Field(None, description="How many, each of another class; by default 3.")),
        "rows": (tuple[int, ...], Field((), description="Rows of the split, to show these images.")),
        "split": (Literal["val", "test"], Field("val", description="Whose images.")),
        "out": (
            Path | None,
            Field(None, description="The picture, a .png; by default in the run's folder."),
        ),
    }
    parser = create_model("Attention", __doc__=ATTENTION, **fields)
    given: Any = tyro.cli(parser, args=spaced(parser, arguments), prog="cohobate attention")
    from ..report.tables.attention import definition, to_rich
    from .attention import attention_of_run, check_picture, write_attention

    picture = given.out or given.run / f"attention-{given.split}.png"
    check_picture(picture)
    found = attention_of_run(
        given.run, given.epochs, images=given.images, rows=given.rows, split=given.split, say=print
    )
    written = write_attention(found, picture)
    print(found.about)
    show(to_rich(found))
    print(definition(found))
    print("\n".join(str(path) for path in written))


def inspect_command(arguments: list[str]) -> None:
    def inspect(model: tyro.conf.Positional[str], classes: int = 100, image_size: int | None = None) -> None:
        """The map of a network: stages, sizes, where it can be branched, which blocks can be gated.

        Args:
            model: A name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function.
            classes: How many it predicts.
            image_size: Side of its images in pixels; by default 32, for a library's network its own.
        """
        from ..report.tables.terminal import map_notes, map_table
        from .networks import inspect_network

        found = inspect_network(model, classes, image_size)
        show(map_table(found))
        print("\n".join(map_notes(found)))

    tyro.cli(inspect, args=arguments, prog="cohobate inspect")


def list_command(arguments: list[str]) -> None:
    from rich.table import Table

    def listing(what: tyro.conf.Positional[Literal["methods", "models", "data", "setups"]]) -> None:
        """What there is.

        Args:
            what: Of which kind.
        """
        after: list[str] = []
        if what == "methods":
            from ..recipes.catalogue import RECIPES, described, own_options

            table = Table("method", "what it does", "its options")
            for name in RECIPES:
                table.add_row(name, described(name), " ".join(own_options(name)))
            after = ["terms add up: kd+at, dkd+crd ...; file.py:Class   a method of your own"]
        elif what == "models":
            from ..report.tables.terminal import networks_table
            from .networks import built_in, libraries

            table = networks_table(built_in(), "at 100 classes, 32 x 32")
            after = [f"{name}:NAME   any of its networks ({have})" for name, have in libraries().items()]
            after.append("file.py:function   your own; `cohobate inspect MODEL` shows the map of any of them")
        elif what == "setups":
            from ..papers.setups import SETUPS
            from ..recipes.catalogue import text

            table = Table("set-up", "what it is", "its options")
            for name, setup in SETUPS.items():
                listed = " ".join(f"{key}={text(value)}" for key, value in setup.options.items())
                table.add_row(name, setup.source, listed)
        else:
            from ..data.sources import NAMES

            table = Table("data", "what it is")
            for name, words in NAMES.items():
                table.add_row(name, words)
            table.add_row("FOLDER", "train/<class>/, val/<class>/ and test/<class>/ with images")
        show(table)
        for line in after:
            print(line)

    tyro.cli(listing, args=arguments, prog="cohobate list")
