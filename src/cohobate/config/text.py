"""Names of files as text: on Linux they are bytes, which need not be UTF-8."""

from __future__ import annotations

import os
from pathlib import Path


def shown(name: Path | str) -> str:
    """A name that any terminal or file can take: bytes that are not UTF-8 are written like ``\\xe9``."""
    return os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
