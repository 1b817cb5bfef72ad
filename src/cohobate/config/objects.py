"""Loads a user's own code by name, and finds the known names that are nearest to a mistyped one."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from .text import shown

SEEN = 10_000
"""Names of a folder that are compared with a mistyped one, at most."""


def load_object(spec: str) -> Any:
    """The object that ``file.py:name`` or ``package.module:name`` names.

    Raises:
        ValueError: there is no such file, module or name; the message lists the names that it defines.
    """
    place, _, name = spec.rpartition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    if not hasattr(module, name):
        defined = sorted(n for n, value in vars(module).items() if _is_of(value, n, module))
        raise ValueError(
            f"{place} has no {name!r}; it has {', '.join(defined) or 'no function or class of its own'}"
        )
    return getattr(module, name)


def _is_of(value: object, name: str, module: ModuleType) -> bool:
    """Whether a public name is a function or class of this module, not one that it imports."""
    return not name.startswith("_") and getattr(value, "__module__", None) == module.__name__


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(
            f"no file {path} (looked in {Path.cwd()}): give its whole path, or the command in the folder "
            "that it was named from"
        )
    # A unique name: two files called model.py must not become one module.
    name = f"cohobate_user_{path.stem}_{abs(hash(path.resolve()))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def _from_module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"no module {name!r} ({error}); a file is named file.py:name") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """The three known names that are most similar to ``name``."""
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0))


def nearest_file(path: Path) -> str:
    """Of a file or folder that is not there: what has a similar name beside it, as the end of a message."""
    try:
        names = sorted(each.name for each in path.parent.iterdir())
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names[:SEEN], n=3, cutoff=0.5)
    return f"; the nearest in {shown(path.parent)}: {shown(', '.join(near))}" if near else ""
