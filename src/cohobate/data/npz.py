"""A data set in a file of NumPy arrays, as ``numpy.savez`` writes it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from .arrays import arrays
from .dataset import Dataset

SUFFIX = ".npz"
PARTS = ("val", "test")
KNOWN = ("x", "y", *(f"{kind}_{part}" for part in PARTS for kind in "xy"), "classes")


def load_npz(path: Path, channels: int | None = None) -> Dataset:
    """The arrays ``x`` and ``y`` of a file, and ``x_val``, ``y_val``, ``x_test``, ``y_test``, ``classes``.

    What they may be is what :func:`cohobate.arrays` takes; they are not cropped or mirrored unless the run
    says so. ``classes`` are K names. No code in a file is run: pickled objects are refused.

    Args:
        path: of the file.
        channels: as in :func:`cohobate.arrays`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such archive, a key that is missing or not known, or arrays of another type or shape.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path.absolute()}")
    held = _read(path)
    unknown = [key for key in held if key not in KNOWN]
    if unknown:
        raise ValueError(f"{path} holds {', '.join(unknown)}; the keys that are read are {', '.join(KNOWN)}")
    given = {"train": ("x", "y"), **{part: (f"x_{part}", f"y_{part}") for part in PARTS}}
    for part, keys in given.items():
        missing = [key for key in keys if key not in held]
        if missing and (part == "train" or len(missing) < len(keys)):
            raise ValueError(f"{path} has no {' and no '.join(missing)}; it holds {_listed(held)}")
    pairs = {part: (held[x], held[y]) for part, (x, y) in given.items() if x in held}
    try:
        return arrays(
            *pairs["train"],
            val=pairs.get("val"),
            test=pairs.get("test"),
            classes=_names(held["classes"]) if "classes" in held else None,
            channels=channels,
            name=path.stem,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    key = ""
    held = {}
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no archive of arrays, or cut short; write it by numpy.savez(path, x=..., y=...)"
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            for key in file.files:
                held[key] = file[key]
        return held
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        where = f"{path}, {key}" if key else f"{path}"
        raise ValueError(
            f"{where} cannot be read: {str(error) or 'it is empty'}; "
            "write it by numpy.savez(path, x=..., y=...)"
        ) from error


def _names(classes: np.ndarray) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind != "U":
        raise ValueError(f"classes must be names of shape (K,), got {classes.dtype} of {classes.shape}")
    return tuple(classes.tolist())


def _listed(held: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{key} ({array.dtype}, {array.shape})" for key, array in held.items()) or "nothing"
