"""What was given on the command line: a method's options from defaults, a file, then flags."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

if TYPE_CHECKING:
    from rich.console import RenderableType

SETUP = "A published set-up to begin from (`cohobate list setups`); a configuration and flags beat it."
CONFIG = "A run.yaml to begin from; flags beat it."

WHOLE = ("beside",)
"""Options whose values may hold commas themselves: kd:weight=1,temperature=2."""


def named_run(arguments: list[str], command: str) -> tuple[str, dict[str, Any]]:
    """The method, taken off the arguments, and the options of ``--setup`` and ``--config``.

    Exits with the list of methods if none is named.
    """
    given = config_file(arguments)
    method = arguments.pop(0) if arguments and not arguments[0].startswith("-") else given.get("method")
    if method is None:
        from .cli_looking import list_command

        list_command(["methods"])
        sys.exit(f"usage: cohobate {command} METHOD ... (`cohobate {command} METHOD --help` explains it)")
    given.pop("method", None)
    if (setup := value_of(arguments, "--setup")) is not None:
        from ..papers.setups import find_setup

        given = {**find_setup(setup).of(method), **given}
    return str(method), given


def parse_run(
    method: str, given: Mapping[str, Any], arguments: list[str], program: str, parser: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a method's run, and those that only the command has: from defaults, ``given``, flags."""
    from ..recipes.catalogue import options_model, some_options

    values = some_options(method, given)
    default = parser.model_construct(**{**defaults(parser), **values}) if given else None
    parsed = tyro.cli(parser, args=spaced(parser, arguments), prog=program, default=default)
    own = options_model(method).model_fields
    found = {name: getattr(parsed, name) for name in parser.model_fields}
    return {k: found[k] for k in own}, {k: v for k, v in found.items() if k not in own}


def swept_option(
    method: str, arguments: list[str], extras: Collection[str]
) -> tuple[str, list[str], list[str]]:
    """The option that is given several values, the values, and the arguments without it.

    Args:
        method: whose options count.
        arguments: of the command line.
        extras: options of the command, whose commas mean something else.

    Raises:
        ValueError: no option is given several values, more than one is, or the method does not have it.
    """
    from ..config.objects import nearest
    from ..config.training import takes_several
    from ..recipes.catalogue import options_model, own_options

    fields = options_model(method).model_fields
    found: dict[str, list[str]] = {}
    lists, rest = [], []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag, equals, text = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name in extras:
            rest.append(argument)
            continue
        if not equals:
            text = left[0] if left and not left[0].startswith("--") else ""
        if "," not in text:
            rest.append(argument)
        elif name not in fields:
            raise ValueError(f"{method} has no option {name!r}; the nearest are {nearest(name, fields)}")
        elif takes_several(fields[name].annotation):
            lists.append(flag)
            rest.append(argument)
        else:
            found[name] = text.split(",")
            if not equals:
                left.pop(0)
    if len(found) == 1:
        ((option, texts),) = found.items()
        return option, texts, rest
    flags = [f"--{name.replace('_', '-')}" for name in found or own_options(method) or ["lr"]]
    if found:
        raise ValueError(f"one option is swept, but {' and '.join(flags)} have several values each")
    refused = "".join(f"; {flag} takes several values itself, so it cannot be swept" for flag in lists)
    raise ValueError(
        f"which option is swept? Give one several values, with commas and no spaces: "
        f"cohobate sweep {method} {flags[0]} V1,V2,V3{refused}"
    )


def defaults(model: Any) -> dict[str, Any]:
    return {
        name: tyro.MISSING if field.is_required() else field.default
        for name, field in model.model_fields.items()
    }


def config_file(arguments: list[str]) -> dict[str, Any]:
    """The mapping of ``--config FILE``, wherever it stands among the arguments."""
    from ..runs.folder import read_config

    path = value_of(arguments, "--config")
    return {} if path is None else read_config(Path(path))


def value_of(arguments: list[str], flag: str) -> str | None:
    """What follows a flag, wherever it stands: it has to be known before the others are read."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def spaced(model: Any, arguments: list[str]) -> list[str]:
    """``--seeds 0,1,2`` as ``--seeds 0 1 2``, for options that take several values."""
    from ..config.training import takes_several

    several = {
        f"--{name.replace('_', '-')}"
        for name, field in model.model_fields.items()
        if takes_several(field.annotation) and name not in WHOLE
    }
    apart: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if equals and flag.replace("_", "-") in several:
            apart += [flag, *value.split(",")]
        elif apart and "," in argument and apart[-1].replace("_", "-") in several:
            apart += argument.split(",")
        else:
            apart.append(argument)
    return apart


def show(what: RenderableType) -> None:
    """Print for a terminal or a file."""
    from rich.console import Console

    console = Console()
    # A file or a pipe has no width of its own: nothing need be cut there.
    console.width = console.width if console.is_terminal else max(console.width, 120)
    console.print(what)
