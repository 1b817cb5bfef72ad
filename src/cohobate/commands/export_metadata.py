"""What an exported file says of itself. No network is built, and nothing in the file is run."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..engine.errors import RunError
from ..inference.exporting import METADATA
from ..inference.onnx_network import OnnxNetwork
from ..runs.exported import About
from .task_at import LONGEST, facts_in


def about_in(name: str, data: bytes) -> About:
    """The metadata of an exported file.

    Args:
        name: of the file; its ending says the form.
        data: its content.

    Raises:
        ValueError: a file of another kind, cut or damaged.
        ImportError: onnxruntime is missing, for an ONNX file; the message names the extra.
        RunError: it was not exported by cohobate.
    """
    return _reader(name)(name, io.BytesIO(data))


def about_at(path: Path) -> About:
    """As :func:`about_in`; of weights alone and of a .pt2 file no more than the metadata is read.

    Raises:
        OSError: it cannot be read.
    """
    read = _reader(path.name)
    with path.open("rb") as file:
        return read(path.name, file)


def _reader(name: str) -> Reader:
    ending = name.rpartition(".")[2]
    if ending not in READERS:
        raise ValueError(f"{name} is no network; there are {', '.join(READERS)}")
    return READERS[ending]


def _onnx(name: str, file: BinaryIO) -> About:
    return About.from_metadata(OnnxNetwork(file.read(), name).metadata, name)


def _pt2(name: str, file: BinaryIO) -> About:
    """From the archive, since torch.export.load would run code that is in it."""
    try:
        with zipfile.ZipFile(file) as archive:
            entry = next(each for each in archive.infolist() if each.filename.endswith(f"/extra/{METADATA}"))
            if entry.file_size > LONGEST:
                raise ValueError(f"{name} has {entry.file_size:,} bytes of metadata")
            record = json.loads(archive.read(entry))
    # An encrypted entry is a RuntimeError, an unknown compression a NotImplementedError, JSON in many levels
    # a RecursionError (both are RuntimeErrors too).
    except (zipfile.BadZipFile, zlib.error, EOFError, StopIteration, RuntimeError, ValueError) as error:
        raise RunError(f"{name} has no metadata of cohobate") from error
    return About.from_metadata(_mapping(record, name), name)


def _safetensors(name: str, file: BinaryIO) -> About:
    try:
        facts = facts_in(file)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{name} has no metadata of cohobate") from error
    return About.of(_mapping(facts, name), name)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RunError(f"{name} has no metadata of cohobate")
    return value


Reader = Callable[[str, BinaryIO], About]
READERS: dict[str, Reader] = {"onnx": _onnx, "pt2": _pt2, "safetensors": _safetensors}
"""Ending of a file -> what reads its metadata."""
