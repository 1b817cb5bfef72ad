"""The command line: ``cohobate train | compare | evaluate | report | inspect | list``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

import tyro

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .recipes.training import Training

USAGE = """\
usage: cohobate COMMAND ...

Knowledge distillation of vision networks.

  train METHOD      train one method; an interrupted run goes on
  compare [METHOD ...]
                    train several methods over seeds, print and write one table
  evaluate RUN      measure a finished run: top-1, top-5, NLL, calibration, each class
  report RUN ...    write the page of a run, or of several runs beside one another
  inspect MODEL     the map of a network: stages, sizes, branch points, gates
  list methods|models|data|setups

`cohobate compare` alone runs a small comparison on real digits in under two minutes.
`cohobate COMMAND --help` explains a command, `cohobate train METHOD --help` a method's options.
"""


SETUP = "A published set-up to begin from (`cohobate list setups`); a configuration and flags beat it."


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 and one clear line when something given is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("cohobate"))
        return
    command = COMMANDS.get(arguments[0])
    if command is None:
        sys.exit(f"error: unknown command {arguments[0]!r}; there are {', '.join(COMMANDS)}")
    _guarded(command, arguments[1:])


def _guarded(command: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Turn what a user can mend into one line. COHOBATE_TRACEBACK=1 shows where it came from."""
    try:
        command(arguments)
    except Exception as error:
        if os.environ.get("COHOBATE_TRACEBACK"):
            raise
        from .engine.errors import RunError, Stopped

        if isinstance(error, Stopped):
            print(f"{error}", file=sys.stderr)
            sys.exit(error.code)
        if isinstance(error, RunError | ValueError | FileNotFoundError | ImportError):
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        raise


# ---------------------------------------------------------------- train


def _train(arguments: list[str]) -> None:
    from .recipes.catalogue import own_options

    given = _config_file(arguments)
    method = arguments.pop(0) if arguments and not arguments[0].startswith("-") else given.get("method")
    if method is None:
        _list(["methods"])
        sys.exit("usage: cohobate train METHOD ... (`cohobate train METHOD --help` explains its options)")
    given.pop("method", None)
    if (setup := _value(arguments, "--setup")) is not None:
        from .recipes.setups import find_setup

        given = {**find_setup(setup).of(method), **given}
    config, extra = _parse(method, given, arguments, f"cohobate train {method}")
    if extra["dry_run"]:
        _show_plan(method, config, own_options(method))
        return
    from .recipes.run import train

    result = train(method, config, extra["out"], quiet=extra["quiet"])
    if _first_process():
        from .recipes.folder import write_files
        from .report.files import run_files
        from .report.runs import read_run
        from .report.terminal import result_table

        _print(result_table(result.facts))
        (page,) = write_files(result.folder, run_files(read_run(result.folder)))
        print(f"run:  {result.folder}\npage: {page}")


def _parse(
    method: str, given: dict[str, Any], arguments: list[str], program: str
) -> tuple[Training, dict[str, Any]]:
    """Options of a method from defaults, then a configuration file, then flags."""
    from pydantic import Field, create_model

    from .recipes.catalogue import options, options_model, some_options

    model = options_model(method)
    extras: dict[str, Any] = {
        "out": (Path | None, Field(None, description="The run's folder; by default below runs/.")),
        "config": (Path | None, Field(None, description="A run.yaml to begin from; flags beat it.")),
        "setup": (str | None, Field(None, description=SETUP)),
        "dry_run": (bool, Field(False, description="Print the plan and its cost, train nothing.")),
        "quiet": (bool, Field(False, description="Print the result only.")),
    }
    parser = create_model("Options", __base__=model, __doc__=model.__doc__, **extras)
    values = some_options(method, given)
    default = parser.model_construct(**{**_defaults(parser), **values}) if given else None
    parsed = tyro.cli(parser, args=_spaced(parser, arguments), prog=program, default=default)
    extra = {key: getattr(parsed, key) for key in extras}
    return options(method, {k: getattr(parsed, k) for k in model.model_fields}), extra


def _defaults(model: Any) -> dict[str, Any]:
    return {
        name: tyro.MISSING if field.is_required() else field.default
        for name, field in model.model_fields.items()
    }


def _config_file(arguments: list[str]) -> dict[str, Any]:
    """The mapping of ``--config FILE``, wherever it stands among the arguments."""
    from .recipes.folder import read_config

    path = _value(arguments, "--config")
    return {} if path is None else read_config(Path(path))


def _value(arguments: list[str], flag: str) -> str | None:
    """What follows a flag, wherever it stands: it has to be known before the others are read."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _spaced(model: Any, arguments: list[str]) -> list[str]:
    """``--seeds 0,1,2`` as ``--seeds 0 1 2``, for options that take several values."""
    several = {
        f"--{name.replace('_', '-')}"
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is tuple
    }
    spaced: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if equals and flag.replace("_", "-") in several:
            spaced += [flag, *value.split(",")]
        elif spaced and "," in argument and spaced[-1].replace("_", "-") in several:
            spaced += argument.split(",")
        else:
            spaced.append(argument)
    return spaced


def _show_plan(method: str, config: Training, own: list[str]) -> None:
    from .recipes.run import dry_run
    from .report.terminal import plan_table

    dataset, outlooks = dry_run(method, config)
    _print(plan_table(f"{method} on {config.data}: the plan", outlooks))
    val = 0 if dataset.val is None else len(dataset.val)
    print(f"{len(dataset.train):,} training and {val:,} validation images, {len(dataset.classes)} classes")
    print("  ".join(f"{name}={getattr(config, name)}" for name in own))
    print("The time is that of a few steps here, without validation. Nothing was written.")


# ---------------------------------------------------------------- compare


def _compare(arguments: list[str]) -> None:
    from pydantic import Field, create_model

    from .recipes.training import Training

    fields: dict[str, Any] = {
        "methods": (
            Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="METHOD ...")],
            Field(
                ("baseline", "self_guidance"),
                description="Names; with options of their own: self_guidance:weight=0.5,survival=0.8",
            ),
        ),
        "seeds": (tuple[int, ...], Field((0, 1), description="Each trains every method once.")),
        "seed": (Annotated[int, tyro.conf.Suppress], 0),
        "setup": (str | None, Field(None, description=SETUP)),
        "out": (Path | None, Field(None, description="Folder of the comparison; by default below runs/.")),
        "quiet": (bool, Field(False, description="Print the table only.")),
    }
    doc = "Train what is missing, reuse what is done, print and write one table. Gains are paired by seed."
    parser = create_model("Comparison", __base__=Training, __doc__=doc, **fields)
    from .recipes.setups import find_setup

    setup = _value(arguments, "--setup")
    values = {} if setup is None else dict(find_setup(setup).options)
    default = parser.model_construct(**{**_defaults(parser), **values}) if values else None
    spaced = _spaced(parser, arguments)
    parsed: Any = tyro.cli(parser, args=spaced, prog="cohobate compare", default=default)
    from .recipes.compare import compare
    from .report.table import to_rich

    shared = Training(**{k: getattr(parsed, k) for k in Training.model_fields})
    comparison, written = compare(
        parsed.methods, parsed.seeds, shared, parsed.out, setup=setup, quiet=parsed.quiet
    )
    if written:
        _print(to_rich(comparison))
        print("\n".join(str(path) for path in written))


# ---------------------------------------------------------------- evaluate, report, inspect, list


def _evaluate(arguments: list[str]) -> None:
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
        from .recipes.evaluate import evaluate_run
        from .report.terminal import measures_table

        measured, classes, split = evaluate_run(run, split, weights)
        title = f"{run}, {split} split, {weights} weights, {measured['images']:,} images"
        _print(measures_table(title, measured, classes))

    tyro.cli(evaluate, args=arguments, prog="cohobate evaluate")


def _report(arguments: list[str]) -> None:
    def report(
        runs: tyro.conf.Positional[tuple[Path, ...]], out: Path | None = None, baseline: str | None = None
    ) -> None:
        """Write the page of a run, or the table and page of several.

        Args:
            runs: Run folders, or folders that hold some.
            out: Where to write; by default the run's folder, or the folder above all runs.
            baseline: Label that gains are measured against; by default `baseline`, or the first.
        """
        from .recipes.folder import write_files
        from .report.comparison import compare
        from .report.files import comparison_files, run_files
        from .report.runs import find_runs, read_run
        from .report.table import to_rich

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
        _print(to_rich(comparison))
        print("\n".join(str(path) for path in written))

    tyro.cli(report, args=arguments, prog="cohobate report")


def _inspect(arguments: list[str]) -> None:
    def inspect(model: tyro.conf.Positional[str], classes: int = 100, image_size: int | None = None) -> None:
        """The map of a network: stages, sizes, where it can be branched, which blocks can be gated.

        Args:
            model: A name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function.
            classes: How many it predicts.
            image_size: Side of its images in pixels; by default 32, for a library's network its own.
        """
        from .recipes.networks import inspect_network
        from .report.terminal import map_notes, map_table

        found = inspect_network(model, classes, image_size)
        _print(map_table(found))
        print("\n".join(map_notes(found)))

    tyro.cli(inspect, args=arguments, prog="cohobate inspect")


def _list(arguments: list[str]) -> None:
    from rich.table import Table

    def show(what: tyro.conf.Positional[Literal["methods", "models", "data", "setups"]]) -> None:
        """What there is.

        Args:
            what: Of which kind.
        """
        after: list[str] = []
        if what == "methods":
            from .recipes.catalogue import RECIPES, described, own_options

            table = Table("method", "what it does", "its options")
            for name in RECIPES:
                table.add_row(name, described(name), " ".join(own_options(name)))
            after = ["terms add up: kd+at, dkd+crd ...; file.py:Class   a method of your own"]
        elif what == "models":
            from .recipes.networks import built_in, libraries
            from .report.terminal import networks_table

            table = networks_table(built_in(), "at 100 classes, 32 x 32")
            after = [f"{name}:NAME   any of its networks ({have})" for name, have in libraries().items()]
            after.append("file.py:function   your own; `cohobate inspect MODEL` shows the map of any of them")
        elif what == "setups":
            from .recipes.catalogue import text
            from .recipes.setups import SETUPS

            table = Table("set-up", "what it is", "its options")
            for name, setup in SETUPS.items():
                listed = " ".join(f"{key}={text(value)}" for key, value in setup.options.items())
                table.add_row(name, setup.source, listed)
        else:
            from .data.sources import NAMES

            table = Table("data", "what it is")
            for name, words in NAMES.items():
                table.add_row(name, words)
            table.add_row("FOLDER", "train/<class>/, val/<class>/ and test/<class>/ with images")
        _print(table)
        for line in after:
            print(line)

    tyro.cli(show, args=arguments, prog="cohobate list")


def _print(what: RenderableType) -> None:
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width of its own: nothing need be cut there.
    console.width = console.width if console.is_terminal else max(console.width, 120)
    console.print(what)


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": _train,
    "compare": _compare,
    "evaluate": _evaluate,
    "report": _report,
    "inspect": _inspect,
    "list": _list,
}

if __name__ == "__main__":
    main()
