"""Checks the values of options; an error is one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .objects import nearest

M = TypeVar("M", bound=BaseModel)


def checked(name: str, model: type[M], values: Mapping[str, Any]) -> M:
    """The model filled with these values.

    Args:
        name: of the method or command, for the error.
        model: declares the options.
        values: of the options, by name.

    Raises:
        ValueError: an unknown option (with the nearest), one that is missing, or a value out of range.
    """
    for key in values:
        if key not in model.model_fields:
            near = nearest(key, model.model_fields)
            raise ValueError(f"{name} has no option {key!r}; the nearest are {near}")
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError(f"{name}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if not place:
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{place} is required"
    return f"{place}: {str(error['msg']).removeprefix('Value error, ')} (got {error['input']!r})"
