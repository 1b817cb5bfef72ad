"""Values given for options, checked; what is wrong is said in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .objects import nearest

M = TypeVar("M", bound=BaseModel)


def checked(name: str, model: type[M], given: Mapping[str, Any]) -> M:
    """The options of ``name``.

    Raises:
        ValueError: an unknown option (with the nearest), one that is missing, or a value out of range.
    """
    for key in given:
        if key not in model.model_fields:
            near = nearest(key, model.model_fields)
            raise ValueError(f"{name} has no option {key!r}; the nearest are {near}")
    try:
        return model(**given)
    except ValidationError as error:
        raise ValueError(f"{name}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if not place:
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{place} is required"
    return f"{place}: {error['msg']} (got {error['input']!r})"
