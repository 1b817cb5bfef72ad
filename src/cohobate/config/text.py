"""Names of files, and what others wrote, as text that a terminal can take."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

BREAKS = ("Cc", "Zl", "Zp")
"""Unicode's categories of control characters, among them the escapes of a terminal, and of line breaks."""
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of the text that follows."""


def as_text(name: Path | str) -> str:
    """A name as UTF-8, for files: on Linux names are bytes; those that are no text are written ``\\xe9``."""
    return os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shown(name: Path | str) -> str:
    """The same in one line for a terminal: control characters, which could steer it, as ``\\x1b``."""
    return "".join(_harmless(each) for each in as_text(name))


def _harmless(character: str) -> str:
    steers = unicodedata.category(character) in BREAKS or character in DIRECTIONS
    return character.encode("unicode_escape").decode() if steers else character


def first_line(error: BaseException) -> str:
    """The first line of an error's message that holds anything; the name of its class if none does."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
