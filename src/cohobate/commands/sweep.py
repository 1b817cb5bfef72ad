"""``cohobate sweep``: a method trained for each value of one option, its error or mIoU drawn over them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..config.checking import checked
from ..config.grammar import flag, takes_several
from ..config.groups import Group
from ..config.idle import refuse_idle
from ..config.objects import nearest
from .console import show
from .parsing import CONFIG, SETUP, WHOLE, named_run, parsed

SWEEP = """\
usage: cohobate sweep METHOD --OPTION V1,V2,... [--seeds 0,1] [--beside METHOD ...] [--mark V] ...

Train a method once for each value of one option and draw its top-1 error, or its mIoU, over the option.

  cohobate sweep self_guidance --weight 0.01,0.1,1,10 --beside baseline
  cohobate sweep kd+at --kd-temperature 1,2,4,8 --teacher resnet20 --seeds 0,1
  cohobate sweep baseline --lr 0.01,0.1,1 --epochs 10

The option with several values, separated by commas, is the one that is swept: one of the method's own, or
of every run. All other options are those of `cohobate train METHOD --help`. Finished runs are reused, so the
same command goes on after Ctrl-C; a run that diverges is drawn as a cross and the sweep goes on.
Choose a value by the validation split; what is drawn of the test split is for reporting only.
`cohobate sweep METHOD --help` lists the options.
"""


class Command(Group):
    """The methods drawn beside the sweep and the folder of its figure."""

    seeds: tuple[int, ...] = Field((0,), description="Seeds; every value is trained once with each.")
    beside: Annotated[tuple[str, ...], WHOLE] = Field(
        (), description="Other methods to train and draw as dashed lines: baseline kd:weight=0.5."
    )
    mark: str | None = Field(
        None, description="Value to mark in the figure; by default the option's default."
    )
    out: Path | None = Field(None, description="Folder of the sweep; by default a new one below runs/.")
    config: Path | None = Field(None, description=CONFIG)
    setup: str | None = Field(None, description=SETUP)
    quiet: bool = Field(False, description="Print only the table at the end.")


def main(arguments: list[str]) -> None:
    """Train METHOD once for each value of --OPTION V1,V2,..., draw its error or mIoU."""
    wants_help = not {"-h", "--help"}.isdisjoint(arguments)
    if wants_help and arguments[0].startswith("-"):
        print(SWEEP, end="")
        return
    method, initial = named_run(arguments, "sweep")
    from ..recipes.options import options_model, own_group, some_options
    from ..recipes.recipe import find

    own, program = {method: own_group(method)}, f"cohobate sweep {method}"
    initial = some_options(method, initial)
    if wants_help:
        about = f"{SWEEP.partition(chr(10))[2]}\n{method}: {find(method).summary}"
        parsed(program, arguments, Command, own=own, initial=initial, hidden=("seed",), about=about)
    option, texts, rest = swept_option(method, arguments, Command.model_fields)
    from ..recipes.axis import check_values

    values = check_values(method, option, texts)
    first = {**initial, option: values[0]}
    chosen, command = parsed(program, rest, Command, own=own, initial=first, hidden=("seed",), free=(option,))
    refuse_idle([option], chosen, free=[option])
    from .sweeping import sweep

    table, written = sweep(
        method,
        option,
        values,
        command.seeds,
        checked(method, options_model(method), chosen),
        command.out,
        beside=command.beside,
        mark=command.mark,
        setup=command.setup,
        quiet=command.quiet,
    )
    if written:
        from ..report.tables.sweep_table import to_rich

        show(to_rich(table))
        print("\n".join(str(path) for path in written))


def swept_option(
    method: str, arguments: list[str], extras: Collection[str]
) -> tuple[str, list[str], list[str]]:
    """The option that has several values, these values, and the arguments without it.

    Args:
        method: its options, and those of every run, can be swept.
        arguments: of the command line.
        extras: options of the command, whose commas mean something else.

    Raises:
        ValueError: no option has several values, more than one has, or the method does not have it.
    """
    from ..recipes.options import options_model, own_options

    fields = options_model(method).model_fields
    swept: dict[str, list[str]] = {}
    lists, rest = [], []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        typed, equals, text = argument.partition("=")
        name = typed.removeprefix("--").replace("-", "_")
        if not typed.startswith("--") or name in extras:
            rest.append(argument)
            continue
        if not equals:
            text = left[0] if left and not left[0].startswith("--") else ""
        if "," not in text:
            rest.append(argument)
        elif name not in fields:
            raise ValueError(f"{method} has no option {name!r}; the nearest are {nearest(name, fields)}")
        elif takes_several(fields[name].annotation):
            lists.append(typed)
            rest.append(argument)
        else:
            swept[name] = text.split(",")
            if not equals:
                left.pop(0)
    if len(swept) == 1:
        ((option, texts),) = swept.items()
        return option, texts, rest
    flags = [flag(name) for name in swept or own_options(method) or ["lr"]]
    if swept:
        raise ValueError(f"one option is swept, but {' and '.join(flags)} have several values each")
    refused = "".join(f"; {name} takes several values itself, so it cannot be swept" for name in lists)
    raise ValueError(
        f"which option is swept? Give one several values, with commas and no spaces: "
        f"cohobate sweep {method} {flags[0]} V1,V2,V3{refused}"
    )
