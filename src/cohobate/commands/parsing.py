"""The command line: options in titled groups, with values from defaults, a set-up, a file, then flags."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, make_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import tyro
from pydantic.fields import FieldInfo
from tyro.constructors import PrimitiveConstructorSpec

from ..config.checking import checked
from ..config.grammar import flag, takes_several
from ..config.groups import GROUPS, Group, Training
from ..config.idle import refuse_idle
from ..core.courses import Changing

SETUP = "Published set-up to take options from (`cohobate list setups`); options that you give override it."
CONFIG = "File to take options from: the run.yaml of a run; flags override it."

WHOLE = "whole"
"""Marks an option of several values that may hold commas themselves: kd:weight=1,temperature=2."""

TRUTHS = ("true", "false", "yes", "no", "on", "off", "1", "0")
"""What one may type behind a flag; no method is called so."""

SWITCH = bool | None
"""Type of an option that is on, off, or left to the data."""

C = TypeVar("C", bound=Group)


def parsed(
    program: str,
    arguments: Sequence[str],
    command: type[C],
    *,
    own: Mapping[str, type[Group]] | None = None,
    initial: Mapping[str, Any] | None = None,
    hidden: Sequence[str] = (),
    about: str = "",
    free: Sequence[str] = (),
) -> tuple[dict[str, Any], C]:
    """The options of a run, unchecked, and the command's own; exits after ``--help`` or a wrong flag.

    Args:
        program: as it is typed.
        arguments: the words that follow it.
        command: options that only this command has.
        own: titled groups that come before those of every run: the method's.
        initial: values that replace the defaults.
        hidden: options of every run that this command does not have.
        about: description of the command, for its help.
        free: names of options that take several values besides these.

    Raises:
        ValueError: an option that is given has no effect with the others.
    """
    groups = {**(own or {}), **{group.__name__.lower(): group for group in GROUPS}}
    _refuse_values_of_flags(arguments, [*groups.values(), command])
    boxes = {title: _box(title, group, initial or {}, hidden) for title, group in groups.items()}
    boxes["command"] = _box("command", command, initial or {}, ())
    fields = [
        (f"group_{i}", Annotated[kind, tyro.conf.arg(name=title.replace("_", "-"))], field(default=kind()))
        for i, (title, kind) in enumerate(boxes.items())
    ]
    options = make_dataclass("Options", fields, frozen=True)
    typed: Any = tyro.cli(
        options,
        args=_with_values(arguments, _switches(groups.values())),
        prog=program,
        description=about,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    values = {name: vars(getattr(typed, f"group_{i}")) for i, name in enumerate(boxes)}
    own_values = checked(program, command, values.pop("command"))
    chosen = {name: value for group in values.values() for name, value in group.items()}
    refuse_idle(given(arguments, chosen), chosen, free)
    return chosen, own_values


def parsed_alone(program: str, arguments: Sequence[str], command: type[C], about: str) -> C:
    """The options of a command that trains nothing; exits after ``--help`` or a wrong flag."""
    _refuse_values_of_flags(arguments, [command])
    options = _box("options", command, {}, ())
    typed: Any = tyro.cli(options, args=list(arguments), prog=program, description=about)
    return checked(program, command, vars(typed))


def _refuse_values_of_flags(arguments: Sequence[str], groups: Sequence[type[Group]]) -> None:
    """Raise a ValueError where a flag has a value: ``--sla true``, ``--sla=true``."""
    flags = {
        flag(name)
        for group in groups
        for name, info in group.model_fields.items()
        if info.annotation is bool and not info.is_required()
    }
    for argument, following in pairwise([*arguments, ""]):
        name, equals, value = argument.replace("_", "-").partition("=")
        name = name.replace("--no-", "--") if name not in flags else name
        if name in flags and (equals or following.lower() in TRUTHS):
            raise ValueError(
                f"{name} is a flag and takes no value, got {value or following}: "
                f"write {name} or {name.replace('--', '--no-', 1)}"
            )


def _box(title: str, group: type[Group], initial: Mapping[str, Any], hidden: Sequence[str]) -> Any:
    """A dataclass with the fields of a group, for tyro; pydantic checks the values afterwards."""
    fields = [
        (name, _typed(name, info), field(default=_default(name, info, initial)))
        for name, info in group.model_fields.items()
        if name not in hidden
    ]
    return make_dataclass(title, fields, frozen=True, namespace={"__doc__": group.__doc__})


def _typed(name: str, info: FieldInfo) -> Any:
    named = type(tyro.conf.arg())
    marks = [mark for mark in info.metadata if mark is tyro.conf.Positional or isinstance(mark, named)]
    help_ = tyro.conf.arg(help=info.description)
    if info.annotation == SWITCH:
        return Annotated[(info.annotation, help_, switch(name), *marks)]
    if any(isinstance(mark, Changing) for mark in info.metadata):
        return Annotated[(float | str | None, help_, NUMBER_OR_COURSE, *marks)]
    if type(None) in get_args(info.annotation) and info.default is not None and not info.is_required():
        return Annotated[(float | str | None, help_, NUMBER_OR_NONE, *marks)]
    if not takes_several(info.annotation):
        return Annotated[(info.annotation, help_, *marks)]
    constructor = several(info.annotation, split=WHOLE not in info.metadata)
    return Annotated[(info.annotation, help_, constructor, *marks)]


def _default(name: str, info: FieldInfo, initial: Mapping[str, Any]) -> Any:
    return initial.get(name, tyro.MISSING if info.is_required() else info.default)


def several(annotation: Any, *, split: bool) -> PrimitiveConstructorSpec[Any]:
    """How an option of several values is typed: ``0,1,2`` or ``0 1 2``; ``none`` where it may be None."""
    may_be_none = type(None) in getattr(annotation, "__args__", ())
    kind = "FLOAT" if "float" in str(annotation) else "INT" if "int" in str(annotation) else "STR"

    def read(texts: list[str]) -> Any:
        if may_be_none and [text.lower() for text in texts] == ["none"]:
            return None
        return tuple(part.strip() for text in texts for part in text.split(",")) if split else tuple(texts)

    def write(value: Any) -> list[str]:
        texts = ["none"] if value is None else [str(part) for part in value]
        return [",".join(texts)] if split and texts else texts

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{kind},{kind}..." if split else f"{kind} [{kind} ...]",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, tuple | list),
        str_from_instance=write,
    )


NUMBER_OR_COURSE: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT|A..B",
    instance_from_str=lambda texts: None if texts[0].lower() == "none" else texts[0],
    is_instance=lambda value: value is None or isinstance(value, float | int | str),
    str_from_instance=lambda value: [str(value)],
)
"""How an option that may change over the run is typed: ``4``, or ``8..2``; ``none`` where it may be None."""

NUMBER_OR_NONE: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT|none",
    instance_from_str=lambda texts: None if texts[0].lower() == "none" else texts[0],
    is_instance=lambda value: value is None or isinstance(value, float | int | str),
    str_from_instance=lambda value: [str(value).lower()],
)
"""How a number that can be switched off is typed: ``0.9``, or ``none``."""


# ---------------------------------------------------------------- switches that may be left to the data


def switch(name: str) -> PrimitiveConstructorSpec[Any]:
    """How an option that is on, off or neither is shown: ``--flip | --no-flip``."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"| {flag(f'no_{name}')}",
        instance_from_str=lambda texts: {"true": True, "false": False}.get(texts[0].lower(), texts[0]),
        is_instance=lambda value: value is None or isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def _switches(groups: Iterable[type[Group]]) -> list[str]:
    """The flags of such options."""
    fields = (item for group in groups for item in group.model_fields.items())
    return [flag(name) for name, info in fields if info.annotation == SWITCH]


def _with_values(arguments: Sequence[str], switches: Sequence[str]) -> list[str]:
    """The arguments with ``--flip`` written as ``--flip=true``, and ``--no-flip`` as ``--flip=false``."""
    values = {each: f"{each}=true" for each in switches}
    values |= {flag(f"no_{each.removeprefix('--')}"): f"{each}=false" for each in switches}
    return [values.get(argument.replace("_", "-"), argument) for argument in arguments]


# ---------------------------------------------------------------- before flags


def named_run(arguments: list[str], command: str) -> tuple[str, dict[str, Any]]:
    """The method, taken off the arguments, and the options of ``--setup`` and ``--config``.

    Exits with the list of methods if none is named.

    Raises:
        ValueError: an option of either that the method does not have, or does not take; the message names
            the file.
    """
    from ..runs.finding import made_from_python

    file = value_of(arguments, "--config")
    options = config_file(arguments)
    recorded = options.pop("method", None)
    method = arguments.pop(0) if arguments and not arguments[0].startswith("-") else recorded
    if method is None:
        from .listing import main

        main(["methods"])
        sys.exit(f"usage: cohobate {command} METHOD ... (`cohobate {command} METHOD --help` explains it)")
    method = str(method)
    if method == recorded and made_from_python(method):
        raise ValueError(
            f"{file} is of a run from Python (cohobate.fit with {method}): name the method to train with its "
            f"options, cohobate {command} METHOD --config {file}, or call cohobate.fit again"
        )
    published: dict[str, Any] = {}
    if (setup := value_of(arguments, "--setup")) is not None:
        from ..papers.setups import find_setup
        from ..recipes.options import for_method

        published = for_method(method, find_setup(setup).of(method))
    if file is None:
        return method, published
    if recorded not in (None, method):
        options = shared_options(options, f"{file} is a run of {recorded}")
    from ..recipes.options import some_options

    some_options(method, published)
    try:
        options = {**published, **options}
        some_options(method, options)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return method, options


def shared_options(options: Mapping[str, Any], why: str, without: Sequence[str] = ()) -> dict[str, Any]:
    """The options that other runs can share with this one; a note says which are left out, and why."""
    others = [name for name in options if name not in Training.model_fields or name in without]
    if others:
        print(f"note: {why}, so these options are left out: {', '.join(others)}", file=sys.stderr)
    return {name: value for name, value in options.items() if name not in others}


def config_file(arguments: Sequence[str]) -> dict[str, Any]:
    """The mapping of ``--config FILE``, wherever it stands among the arguments."""
    from ..config.files import read_config

    path = value_of(arguments, "--config")
    return {} if path is None else read_config(Path(path))


def value_of(arguments: Sequence[str], wanted: str) -> str | None:
    """The value of a flag anywhere in the arguments, before they are parsed; None if it is not there."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{wanted}="):
            return argument.partition("=")[2]
        if argument == wanted and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def given(arguments: Sequence[str], options: Collection[str]) -> set[str]:
    """Those options whose flag is among the arguments: ``--lr 0.1``, ``--lr=0.1``, ``--no-nesterov``."""
    flags = {a.partition("=")[0].removeprefix("--") for a in arguments if a.startswith("--")}
    names = {name.replace("-", "_") for name in flags}
    return {option for option in options if option in names or f"no_{option}" in names}
