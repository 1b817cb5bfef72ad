"""A value that is one of a few words: from Python nothing else checks it."""

from __future__ import annotations

from typing import Any, get_args

from .objects import nearest


def check_word(name: str, value: object, choices: Any) -> None:
    """Refuse a value that is none of these words.

    Args:
        name: of the option, for the message.
        value: of it.
        choices: a ``Literal`` of the words.

    Raises:
        ValueError: it is none of them; the message names the nearest.
    """
    words = get_args(choices)
    if value not in words:
        near = nearest(str(value), words).partition(", ")[0]
        raise ValueError(f"unknown {name} {value!r}; there are {', '.join(words)}, the nearest is {near}")
