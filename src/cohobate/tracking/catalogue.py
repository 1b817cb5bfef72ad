"""The trackers by name. A new one is its file here, and its extra in :mod:`cohobate.config.extras`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from ..config.extras import EXTRAS, missing
from .tracker import Tracker


def make(name: str, folder: Path) -> Tracker:
    """The tracker of this name, one of :data:`cohobate.config.extras.TRACKERS`, writing in this folder."""
    tracker: Tracker = importlib.import_module(f"{__package__}.{name}").TRACKER(folder)
    return tracker


def require(names: Iterable[str]) -> None:
    """Raise an ImportError if the library of a tracker is not installed; none is imported."""
    for name in names:
        if not all(map(_is_installed, EXTRAS[name].modules)):
            raise ImportError(missing(name, f"--track {name}"))


def _is_installed(library: str) -> bool:
    """Whether there is such a package; a mere folder of its name, as they leave behind, is none."""
    spec = importlib.util.find_spec(library)
    return spec is not None and spec.origin is not None
