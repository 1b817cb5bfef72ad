"""Colours as they are written on the command line."""

from __future__ import annotations

import re

NAMED = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}


def colour(text: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a name or of ``#rrggbb``.

    Raises:
        ValueError: neither.
    """
    if text in NAMED:
        return NAMED[text]
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError(f"a colour is {', '.join(NAMED)} or #rrggbb, got {text!r}")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
