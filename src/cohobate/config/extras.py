"""The optional libraries: by which extra each is installed, and what it adds. No torch here."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple


class Extra(NamedTuple):
    """An extra of the package, ``pip install 'cohobate[NAME]'``.

    Attributes:
        modules: what it installs, under the names by which Python imports it.
        adds: what one can do with it, in a line.
        broken: what to do where it is installed and cannot be imported, if anything in particular.
        tracker: whether it is a tracker of runs, ``--track NAME``: ``tracking/NAME.py``.
    """

    modules: tuple[str, ...]
    adds: str
    broken: str = ""
    tracker: bool = False


ONE_RELEASE = (
    "torch and torchvision must be of one release; install a pair that belongs together: "
    "pip install --upgrade torch torchvision"
)
"""Concerns timm too, which imports torchvision."""

EXTRAS: dict[str, Extra] = {
    "timm": Extra(("timm",), "networks and pretrained weights of timm: --model timm:NAME", ONE_RELEASE),
    "torchvision": Extra(
        ("torchvision",),
        "networks and pretrained weights of torchvision: --model torchvision:NAME",
        ONE_RELEASE,
    ),
    "hf": Extra(("datasets",), "data sets of the Hugging Face hub, or saved by datasets: --data hf:NAME"),
    "export": Extra(("onnx", "onnxruntime", "onnxscript"), "ONNX files, also in int8: cohobate export"),
    "tensorboard": Extra(
        ("tensorboard",), "a run's curves in TensorBoard: --track tensorboard", tracker=True
    ),
    "wandb": Extra(("wandb",), "a run's curves in Weights & Biases: --track wandb", tracker=True),
    "mlflow": Extra(("mlflow",), "a run's curves in MLflow: --track mlflow", tracker=True),
}
"""Name of an extra -> what it installs and adds. The versions stand in pyproject.toml."""

TRACKERS = tuple(name for name, extra in EXTRAS.items() if extra.tracker)
"""Names of the trackers."""


def missing(extra: str, needed_for: str) -> str:
    """The message where an extra is not there: ``timm:NAME needs timm; install it: pip install ...``.

    Args:
        extra: one of :data:`EXTRAS`.
        needed_for: what was asked for, as the user knows it: ``--format onnx``.
    """
    *others, last = EXTRAS[extra].modules
    needed = f"{', '.join(others)} and {last}" if others else last
    return f"{needed_for} needs {needed}; install {'them' if others else 'it'}: {install_command(extra)}"


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'cohobate[{extra}]'"


def require(extra: str, needed_for: str) -> None:
    """Import the libraries of an extra.

    Args:
        extra: one of :data:`EXTRAS`.
        needed_for: what was asked for, as the user knows it: ``--format onnx``.

    Raises:
        ImportError: one is not installed; the message names the extra.
    """
    for module in EXTRAS[extra].modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise ImportError(missing(extra, needed_for)) from error
