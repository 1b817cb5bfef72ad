"""Which options can be swept, and the values that they take."""

from __future__ import annotations

from collections.abc import Sequence
from types import NoneType
from typing import Any, get_args

from ..config.grammar import flag, takes_several
from ..config.groups import Bookkeeping
from ..config.objects import nearest
from .options import options_model, some_options


def check_values(method: str, option: str, values: Sequence[Any]) -> list[Any]:
    """The values as the option takes them, each once.

    Raises:
        ValueError: an unknown option (with the nearest), one that cannot be swept, no value, or one
            that the option does not take.
    """
    fields = options_model(method).model_fields
    if option not in fields:
        raise ValueError(f"{method} has no option {option!r}; the nearest are {nearest(option, fields)}")
    if option == "seed":
        raise ValueError("--seed cannot be swept: --seeds 0,1,2 trains every value with each seed")
    if option in Bookkeeping.model_fields:
        raise ValueError(f"{flag(option)} cannot be swept: it does not change the trained weights")
    if takes_several(fields[option].annotation):
        raise ValueError(f"{flag(option)} takes several values itself, so it cannot be swept")
    if not values:
        raise ValueError(f"{flag(option)} has no value; a sweep needs one or more")
    if any(isinstance(value, str) and not value.strip() for value in values):
        raise ValueError(f"a value of {flag(option)} is empty: {','.join(map(str, values))!r}")
    may_be_none = NoneType in get_args(fields[option].annotation)
    values = [None if may_be_none and str(value).lower() == "none" else value for value in values]
    return list(dict.fromkeys(some_options(method, {option: value})[option] for value in values))
