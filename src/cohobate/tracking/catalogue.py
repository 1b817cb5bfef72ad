"""The trackers by name. A new one is its file and a line here, and its name among the options."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..config.extras import EXTRAS, missing
from .tracker import Tracker


class Place(NamedTuple):
    """Where a tracker is.

    Attributes:
        module: of this package.
        name: of its class, made of the folder in which it writes.
    """

    module: str
    name: str


TRACKERS = {
    "tensorboard": Place("tensorboard", "TensorBoard"),
    "wandb": Place("wandb", "WeightsAndBiases"),
    "mlflow": Place("mlflow", "MLflow"),
}
"""Name of a tracker, which is that of its extra too -> where it is."""


def make(name: str, folder: Path) -> Tracker:
    """The tracker of this name, which writes in this folder."""
    place = TRACKERS[name]
    tracker: Tracker = getattr(importlib.import_module(f"{__package__}.{place.module}"), place.name)(folder)
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
