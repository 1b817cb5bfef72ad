"""A reader of pickles that can make arrays, numbers, text and containers of them, and nothing else."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np


class _RefusedError(ValueError):
    """A pickle asks for something that no data file needs."""


def _encode(text: str, encoding: str | bytes) -> bytes:
    # How Python 3 writes bytes under protocol 2. No other codec is let in.
    if encoding not in ("latin1", b"latin1"):
        raise _RefusedError(f"it asks for the codec {encoding!r}, only latin1 is allowed")
    return text.encode("latin1")


def _reconstruct(*_: object) -> np.ndarray:
    # Whatever the arguments: the state that follows sets type and shape.
    return np.empty(0, np.uint8)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"it names {module}.{name}, which no data file needs")
        return _ALLOWED[module, name]


def unpickle(content: bytes, file: str) -> object:
    """The object in a pickle; strings that Python 2 wrote become bytes.

    Args:
        content: the pickle.
        file: its name, for messages.

    Raises:
        ValueError: the pickle names a global that arrays do not need (it is not called), or is damaged.
    """
    try:
        return _Restricted(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as error:
        raise ValueError(f"{file} was refused: {error}") from None
    except Exception as error:  # damaged bytes may raise anything
        raise ValueError(f"{file} is no pickle, or is truncated: {error}") from error
