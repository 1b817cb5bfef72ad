"""The command line: options in titled groups, with values from defaults, a set-up, a file, then flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic.fields import FieldInfo
from tyro.constructors import PrimitiveConstructorSpec

from ..config.checking import checked
from ..config.grammar import takes_several
from ..config.groups import GROUPS, Group
from ..core.courses import Changing

SETUP = "Published set-up to take options from (`cohobate list setups`); options that you give override it."
CONFIG = "File to take options from: the run.yaml of a run; flags override it."

WHOLE = "whole"
"""Marks an option of several values that may hold commas themselves: kd:weight=1,temperature=2."""

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
    """
    groups = {**(own or {}), **{group.__name__.lower(): group for group in GROUPS}}
    boxes = {title: _box(title, group, initial or {}, hidden) for title, group in groups.items()}
    boxes["command"] = _box("command", command, initial or {}, ())
    fields = [
        (f"group_{i}", Annotated[kind, tyro.conf.arg(name=title.replace("_", "-"))], field(default=kind()))
        for i, (title, kind) in enumerate(boxes.items())
    ]
    options = make_dataclass("Options", fields, frozen=True)
    typed: Any = tyro.cli(
        options,
        args=list(arguments),
        prog=program,
        description=about,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    values = {name: vars(getattr(typed, f"group_{i}")) for i, name in enumerate(boxes)}
    own_values = checked(program, command, values.pop("command"))
    return {name: value for group in values.values() for name, value in group.items()}, own_values


def parsed_alone(program: str, arguments: Sequence[str], command: type[C], about: str) -> C:
    """The options of a command that trains nothing; exits after ``--help`` or a wrong flag."""
    options = _box("options", command, {}, ())
    typed: Any = tyro.cli(options, args=list(arguments), prog=program, description=about)
    return checked(program, command, vars(typed))


def _box(title: str, group: type[Group], initial: Mapping[str, Any], hidden: Sequence[str]) -> Any:
    """A dataclass with the fields of a group, for tyro; pydantic checks the values afterwards."""
    fields = [
        (name, _typed(info), field(default=_default(name, info, initial)))
        for name, info in group.model_fields.items()
        if name not in hidden
    ]
    return make_dataclass(title, fields, frozen=True, namespace={"__doc__": group.__doc__})


def _typed(info: FieldInfo) -> Any:
    marks = [mark for mark in info.metadata if mark is tyro.conf.Positional]
    help_ = tyro.conf.arg(help=info.description)
    if any(isinstance(mark, Changing) for mark in info.metadata):
        return Annotated[(float | str, help_, NUMBER_OR_COURSE, *marks)]
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
        return tuple(part for text in texts for part in (text.split(",") if split else [text]))

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{kind},{kind}..." if split else f"{kind} [{kind} ...]",
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, tuple | list),
        str_from_instance=lambda value: ["none"] if value is None else [str(part) for part in value],
    )


NUMBER_OR_COURSE: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT|A..B",
    instance_from_str=lambda texts: texts[0],
    is_instance=lambda value: isinstance(value, float | int | str),
    str_from_instance=lambda value: [str(value)],
)
"""How an option that may change over the run is typed: ``4``, or ``8..2``."""


# ---------------------------------------------------------------- before flags


def named_run(arguments: list[str], command: str) -> tuple[str, dict[str, Any]]:
    """The method, taken off the arguments, and the options of ``--setup`` and ``--config``.

    Exits with the list of methods if none is named.
    """
    options = config_file(arguments)
    method = arguments.pop(0) if arguments and not arguments[0].startswith("-") else options.get("method")
    if method is None:
        from .listing import main

        main(["methods"])
        sys.exit(f"usage: cohobate {command} METHOD ... (`cohobate {command} METHOD --help` explains it)")
    options.pop("method", None)
    if (setup := value_of(arguments, "--setup")) is not None:
        from ..papers.setups import find_setup
        from ..recipes.options import for_method

        options = {**for_method(method, find_setup(setup).of(method)), **options}
    return str(method), options


def config_file(arguments: list[str]) -> dict[str, Any]:
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
