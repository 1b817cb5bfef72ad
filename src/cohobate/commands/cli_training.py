"""Commands that train: one method, several, one over the values of an option."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .cli_parsing import CONFIG, SETUP, defaults, named_run, parse_run, show, spaced, swept_option, value_of

if TYPE_CHECKING:
    from ..config.training import Training

# ---------------------------------------------------------------- train


def train_command(arguments: list[str]) -> None:
    from pydantic import Field, create_model

    from ..recipes.catalogue import options, options_model, own_options

    method, given = named_run(arguments, "train")
    fields: dict[str, Any] = {
        "out": (Path | None, Field(None, description="The run's folder; by default below runs/.")),
        "config": (Path | None, Field(None, description=CONFIG)),
        "setup": (str | None, Field(None, description=SETUP)),
        "dry_run": (bool, Field(False, description="Print the plan and its cost, train nothing.")),
        "quiet": (bool, Field(False, description="Print the result only.")),
    }
    model = options_model(method)
    parser = create_model("Options", __base__=model, __doc__=model.__doc__, **fields)
    chosen, extra = parse_run(method, given, arguments, f"cohobate train {method}", parser)
    config = options(method, chosen)
    if extra["dry_run"]:
        _show_plan(method, config, own_options(method))
        return
    from .run import train

    result = train(method, config, extra["out"], quiet=extra["quiet"])
    if _first_process():
        from ..report.files import run_files
        from ..report.tables.terminal import result_table
        from ..runs.folder import write_files
        from ..runs.reading import read_run

        show(result_table(result.facts))
        (page,) = write_files(result.folder, run_files(read_run(result.folder)))
        print(f"run:  {result.folder}\npage: {page}")


def _show_plan(method: str, config: Training, own: list[str]) -> None:
    from ..report.tables.terminal import plan_table
    from .run import dry_run

    dataset, outlooks = dry_run(method, config)
    show(plan_table(f"{method} on {config.data}: the plan", outlooks))
    val = 0 if dataset.val is None else len(dataset.val)
    print(f"{len(dataset.train):,} training and {val:,} validation images, {len(dataset.classes)} classes")
    print("  ".join(f"{name}={getattr(config, name)}" for name in own))
    print("The time is that of a few steps here, without validation. Nothing was written.")


# ---------------------------------------------------------------- compare


def compare_command(arguments: list[str]) -> None:
    from pydantic import Field, create_model

    from ..config.training import Training

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
    from ..papers.setups import find_setup

    setup = value_of(arguments, "--setup")
    values = {} if setup is None else dict(find_setup(setup).options)
    default = parser.model_construct(**{**defaults(parser), **values}) if values else None
    parsed: Any = tyro.cli(parser, args=spaced(parser, arguments), prog="cohobate compare", default=default)
    from ..report.tables.table import to_rich
    from .compare import compare

    shared = Training(**{k: getattr(parsed, k) for k in Training.model_fields})
    comparison, written = compare(
        parsed.methods, parsed.seeds, shared, parsed.out, setup=setup, quiet=parsed.quiet
    )
    if written:
        show(to_rich(comparison))
        print("\n".join(str(path) for path in written))


# ---------------------------------------------------------------- sweep

SWEEP = """\
usage: cohobate sweep METHOD --OPTION V1,V2,... [--seeds 0,1] [--beside METHOD ...] [--mark V] ...

Train a method once for each value of one option and draw its error over the option.

  cohobate sweep self_guidance --weight 0.01,0.1,1,10 --beside baseline
  cohobate sweep kd+at --kd-temperature 1,2,4,8 --teacher resnet20 --seeds 0,1
  cohobate sweep baseline --lr 0.01,0.1,1 --epochs 10

The option with several values, separated by commas, is the one that is swept: one of the method's own, or
of every run. All other options are those of `cohobate train METHOD --help`. What is done is reused, so the
same command goes on after Ctrl-C; a run that diverges is drawn as a cross and the sweep goes on.
Choose a value by the validation error: the test error is drawn and chooses nothing.
`cohobate sweep METHOD --help` lists the options.
"""


def sweep_command(arguments: list[str]) -> None:
    from pydantic import Field, create_model

    from ..recipes.catalogue import options_model

    wants_help = any(flag in arguments for flag in ("-h", "--help"))
    if wants_help and arguments[0].startswith("-"):
        print(SWEEP, end="")
        return
    method, given = named_run(arguments, "sweep")
    fields: dict[str, Any] = {
        "seeds": (tuple[int, ...], Field((0,), description="Each trains every value once.")),
        "seed": (Annotated[int, tyro.conf.Suppress], 0),
        "beside": (
            tuple[str, ...],
            Field((), description="Methods trained alike, drawn as dashed lines: baseline kd:weight=0.5"),
        ),
        "mark": (str | None, Field(None, description="The value to mark; by default the option's default.")),
        "out": (Path | None, Field(None, description="Folder of the sweep; by default below runs/.")),
        "config": (Path | None, Field(None, description=CONFIG)),
        "setup": (str | None, Field(None, description=SETUP)),
        "quiet": (bool, Field(False, description="Print the table only.")),
    }
    model = options_model(method)
    doc = f"{SWEEP.partition('usage')[2].partition(chr(10))[2]}\n{method}: {model.__doc__}"
    parser = create_model("Sweep", __base__=model, __doc__=doc, **fields)
    program = f"cohobate sweep {method}"
    if wants_help:
        parse_run(method, given, arguments, program, parser)
    option, texts, rest = swept_option(method, arguments, fields.keys() - {"seed"})
    from ..report.tables.sweep_table import to_rich
    from .sweep import check_values, sweep

    values = check_values(method, option, texts)
    chosen, extra = parse_run(method, {**given, option: values[0]}, rest, program, parser)
    found, written = sweep(
        method,
        option,
        values,
        extra["seeds"],
        model(**chosen),
        extra["out"],
        beside=extra["beside"],
        mark=extra["mark"],
        setup=extra["setup"],
        quiet=extra["quiet"],
    )
    if written:
        show(to_rich(found))
        print("\n".join(str(path) for path in written))


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
