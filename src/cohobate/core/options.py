"""Options: declared once, in the constructor that uses them, and checked from that declaration.

An option is a keyword-only parameter whose annotation holds its type, its range and its help text::

    @checked
    def __init__(
        self,
        network: nn.Module,
        *,
        weight: Annotated[float, Ge(0), Doc("lambda of eq. 5, weight of the KL term.")] = 0.25,
    ) -> None: ...

The command line takes the flag, its help, its range and its default from it
(:mod:`cohobate.config.declared`).
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from typing_extensions import Doc

from .courses import Changing, Course

P = ParamSpec("P")
R = TypeVar("R")

Weight = Annotated[float, Ge(0), Doc("Factor of this term in the loss.")]
CEWeight = Annotated[float, Ge(0), Doc("Factor of the cross-entropy in the loss.")]
Temperature = Annotated[
    float | str,
    Changing(Gt(0)),
    Doc("T, temperature that softens both predictions; 8..2 changes it linearly over the run."),
]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the options of a constructor, or a function, against their annotations before it runs.

    Raises:
        ValueError: an option has a wrong type or is out of range; the message names the option, the
            value and the valid ones.
    """

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        hints = declared_hints(function)
        for name, value in options.items():
            if name in hints and (requirement := problem(value, hints[name])):
                raise ValueError(f"{name} must be {requirement}, got {value!r}")
        return function(*args, **options)

    return call


@cache
def declared_hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotation of each keyword-only parameter, with its ``Annotated`` metadata.

    They are evaluated one by one, since other parameters may name types that are imported for the type
    checker only.
    """
    function = inspect.unwrap(function)
    names = function.__globals__
    return {
        name: eval(parameter.annotation, names)
        if isinstance(parameter.annotation, str)
        else parameter.annotation
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def own(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a class declares, in its constructor or in its own classmethod ``of``."""
    makers = [kind.__init__, *([vars(kind)["of"].__func__] if "of" in vars(kind) else [])]  # type: ignore[misc]
    declared = {name for maker in makers for name in declared_hints(maker)}
    return {name: value for name, value in options.items() if name in declared}


def problem(value: object, hint: Any) -> str | None:
    """The requirement of an annotation that a value breaks, in words; None if the value fits."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if (mark := next((each for each in parts[1:] if isinstance(each, Changing)), None)) is not None:
            none = value is None and NoneType in get_args(parts[0])
            return None if none else _off_course(mark, value)
        requirement = problem(value, parts[0])
        if requirement or value is None:
            return requirement
        return next((words for bound in parts[1:] if (words := out_of(bound, value))), None)
    if origin in (Union, UnionType):
        wanted = [problem(value, part) for part in parts]
        return None if None in wanted else " or ".join(dict.fromkeys(map(str, wanted)))
    if origin is Literal:
        return None if value in parts else f"one of {', '.join(map(repr, parts))}"
    if origin in (tuple, Sequence):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return "a sequence"
        return next((f"a sequence of {words}" for item in value if (words := problem(item, parts[0]))), None)
    return _of_type(value, hint)


_NUMBERS: dict[Any, tuple[type, str]] = {float: (Real, "a number"), int: (Integral, "a whole number")}


def _of_type(value: object, kind: Any) -> str | None:
    if kind in (Any, inspect.Parameter.empty):
        return None
    if kind in (None, NoneType):
        return None if value is None else "None"
    abstract, words = _NUMBERS.get(kind, (kind, f"a {getattr(kind, '__name__', kind)}"))
    is_one = isinstance(value, abstract) and not (kind in _NUMBERS and isinstance(value, bool))
    return None if is_one else words


_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], bool], str]] = {
    Ge: ("ge", operator.ge, "at least"),
    Gt: ("gt", operator.gt, "above"),
    Le: ("le", operator.le, "at most"),
    Lt: ("lt", operator.lt, "below"),
}


def out_of(bound: object, value: Any) -> str | None:
    """The bound in words if a number, or one of a sequence of numbers, violates it; else None."""
    if isinstance(bound, MinLen):
        return None if len(value) >= bound.min_length else f"at least {bound.min_length} in number"
    if type(bound) not in _BOUNDS:
        return None
    attribute, holds, words = _BOUNDS[type(bound)]
    limit = getattr(bound, attribute)
    values = value if isinstance(value, Sequence) else [value]
    return None if all(holds(item, limit) for item in values) else f"{words} {limit}"


def _off_course(mark: Changing, value: Any) -> str | None:
    """As :func:`problem`, for an option that may change over the run."""
    if not isinstance(value, str):
        return problem(value, Annotated[float, mark.bound])
    try:
        course = Course.of(value)
    except ValueError:
        return "a number, or two with .. between them for a course over the run, such as 8..2"
    words = out_of(mark.bound, course)
    return words and f"{words} at both ends"


__all__ = [
    "CEWeight",
    "Changing",
    "Doc",
    "Ge",
    "Gt",
    "Le",
    "Lt",
    "MinLen",
    "Temperature",
    "Weight",
    "checked",
    "own",
]
