"""Checks the values of options; an error is one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from .grammar import takes_only_several
from .objects import nearest

M = TypeVar("M", bound=BaseModel)


def checked(name: str, model: type[M], values: Mapping[str, Any]) -> M:
    """The model filled with these values.

    Args:
        name: of the method or command, for the error.
        model: declares the options.
        values: of the options, by name; one value of an option that takes several may stand alone, and
            ``none`` is None where an option may be None and is no text.

    Raises:
        ValueError: an unknown option (with the nearest), one that is missing, or a value out of range.
    """
    for key in values:
        if key not in model.model_fields:
            near = nearest(key, model.model_fields)
            raise ValueError(f"{name} has no option {key!r}; the nearest are {near}")
    may_be_none = {key for key, info in model.model_fields.items() if _is_none_or_number(info.annotation)}
    values = {k: None if k in may_be_none and str(v).lower() == "none" else v for k, v in values.items()}
    listed = {key for key, info in model.model_fields.items() if takes_only_several(info.annotation)}
    values = {k: (v,) if k in listed and isinstance(v, str | int | float) else v for k, v in values.items()}
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError(f"{name}: {'; '.join(map(_problem, error.errors()))}") from error


def _is_none_or_number(annotation: object) -> bool:
    parts = get_args(annotation)
    return NoneType in parts and not {str, Path} & set(parts)


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if not place:
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{place} is required"
    if error["type"] == "value_error":
        return f"{place}: {str(error['msg']).removeprefix('Value error, ')}"
    return f"{place}: {error['msg']} (got {error['input']!r})"
