"""Every option of a method's run as one checked model: those of every run, and the method's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache, partial, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator, create_model

from ..config.checking import checked
from ..config.declared import Option, imported
from ..config.grammar import flag, text
from ..config.groups import Group, Teacher, Training, defaults
from ..core import Task
from ..core.courses import BETWEEN, Changing, Course
from ..core.options import out_of
from .catalogue import BY_TASK
from .recipe import find


@cache
def own_group(name: str) -> type[Group]:
    """The method's own options.

    Raises:
        ValueError: an unknown method; or an option of a user's method has the name of one of every run.
    """
    recipe = find(name)
    for option in recipe.declaration.options:
        if option in Training.model_fields:
            raise ValueError(f"option {option!r} of {name} is an option of every run; rename it")
    fields: dict[str, Any] = {key: _field(option) for key, option in recipe.declaration.options.items()}
    return create_model("Own", __base__=Group, __doc__="Options of this method alone.", **fields)


def _field(option: Option) -> tuple[Any, Any]:
    default = ... if option.default is inspect.Parameter.empty else option.default
    return typed(option.hint), Field(default, description=option.help or None)


def typed(hint: Any) -> Any:
    """An annotation without the alternatives that only Python takes, ``float | Sequence[float]``.

    An option that may change over the run is a number, or the text of its course.
    """
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        if (mark := next((each for each in marks if isinstance(each, Changing)), None)) is not None:
            plain = PlainSerializer(lambda value: value, return_type=Any)
            number = float | None if NoneType in get_args(inner) else float
            return Annotated[(number, mark.bound, WrapValidator(partial(_course_or, mark)), plain, *marks)]
        return Annotated[(typed(inner), *marks)]
    if get_origin(hint) in (Union, UnionType):
        return reduce(or_, (part for part in get_args(hint) if get_origin(part) is not Sequence))
    return hint


def _course_or(mark: Changing, value: Any, number: ValidatorFunctionWrapHandler) -> Any:
    """The text of a course, its ends checked, or what ``number`` makes of the value."""
    course = value
    if isinstance(value, str) and BETWEEN in value:
        course = Course.of(value)
        if words := out_of(mark.bound, course):
            raise ValueError(f"both ends of a course must be {words}, got {value!r}")
    return str(course) if isinstance(course, Course) else number(value)


@cache
def options_model(name: str) -> type[Training]:
    """The method's own options and those of every run.

    Raises:
        ValueError: see :func:`own_group`.
    """
    own = own_group(name)
    bases: Any = (Training, own)
    model: type[Training] = create_model("Options", __base__=bases, __doc__=find(name).summary)
    return model


def own_options(name: str) -> list[str]:
    """The names of a method's own options."""
    return list(own_group(name).model_fields)


def options(name: str, values: Mapping[str, Any]) -> Training:
    """Checked options of a method.

    Raises:
        ValueError: an unknown option (with the nearest), one that is missing, a value out of range, or one
            about a teacher where the method takes none.
    """
    _refuse_teacher(name, values)
    return checked(name, options_model(name), values)


def recorded_options(name: str, values: Mapping[str, Any]) -> Training:
    """Checked options from a run's folder; options of the teacher are dropped for a method without one."""
    if not find(name).needs_teacher:
        values = {key: value for key, value in values.items() if key not in Teacher.model_fields}
    return checked(name, options_model(name), values)


def some_options(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options of a method, of which required ones may still be missing.

    Raises:
        ValueError: as :func:`options`.
    """
    _refuse_teacher(name, values)
    missing: dict[str, Any] = {
        key: (field.annotation, None)
        for key, field in own_group(name).model_fields.items()
        if field.is_required() and key not in values
    }
    partial = create_model("Options", __base__=options_model(name), **missing)
    return checked(name, partial, values).model_dump(exclude_unset=True)


def for_method(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Shared options for one method: those of the teacher are at their defaults if it takes none."""
    if find(name).needs_teacher:
        return dict(values)
    return {**values, **{key: value for key, value in defaults(Teacher).items() if key in values}}


def _refuse_teacher(name: str, values: Mapping[str, Any]) -> None:
    if find(name).needs_teacher:
        return
    for key, default in defaults(Teacher).items():
        if values.get(key) and values[key] != default:
            raise ValueError(f"{name} takes no teacher; leave {flag(key)} out")


def for_task(name: str, config: Training, task: Task) -> Training:
    """The options of a method, with the defaults for these labels in the place of None."""
    found = _defaults_for(name, task)
    return config.model_copy(update={k: v for k, v in found.items() if getattr(config, k) is None})


def _defaults_for(name: str, task: Task | None) -> dict[str, Any]:
    """Defaults that depend on the labels; most methods have none."""
    return dict(imported(BY_TASK[name])(task)) if task is not None and name in BY_TASK else {}


def default_of(name: str, option: str, task: Task) -> Any:
    """The default of an option of a method, of its own or of every run, for these labels."""
    return _defaults_for(name, task).get(option, options_model(name).model_fields[option].default)


def label(name: str, config: Training, task: Task | None = None) -> str:
    """The method and those of its own options that differ from their defaults.

    Args:
        name: of the method.
        config: its options.
        task: what the labels are for, if it is known: what stands at the default for them is left out.
    """
    here = _defaults_for(name, task)
    changed = [
        f"{option}={text(getattr(config, option))}"
        for option, field in own_group(name).model_fields.items()
        if getattr(config, option) not in (field.default, here.get(option, field.default))
    ]
    return " ".join([name, *changed])
