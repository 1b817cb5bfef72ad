"""What an exported file says of itself. No network is built, and nothing in the file is run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

from ..engine.errors import RunError
from ..inference.exporting import METADATA
from ..inference.onnx_network import OnnxNetwork
from ..runs.exported import About

LONGEST = 2**24
"""Bytes of metadata that are unpacked from an archive, at most."""


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
    ending = name.rpartition(".")[2]
    if ending not in READERS:
        raise ValueError(f"{name} is no network; there are {', '.join(READERS)}")
    return READERS[ending](name, data)


def _onnx(name: str, data: bytes) -> About:
    return About.from_metadata(OnnxNetwork(data, name).metadata, name)


def _pt2(name: str, data: bytes) -> About:
    """From the archive, since torch.export.load would run code that is in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entry = next(each for each in archive.infolist() if each.filename.endswith(f"/extra/{METADATA}"))
            if entry.file_size > LONGEST:
                raise ValueError(f"{name} has {entry.file_size:,} bytes of metadata")
            record = json.loads(archive.read(entry))
    except (zipfile.BadZipFile, StopIteration, ValueError) as error:
        raise RunError(f"{name} has no metadata of cohobate") from error
    return About.from_metadata(_mapping(record, name), name)


def _safetensors(name: str, data: bytes) -> About:
    length = int.from_bytes(data[:8], "little")
    try:
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["facts"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{name} has no metadata of cohobate") from error
    return About.of(_mapping(facts, name), name)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RunError(f"{name} has no metadata of cohobate")
    return value


READERS: dict[str, Callable[[str, bytes], About]] = {
    "onnx": _onnx,
    "pt2": _pt2,
    "safetensors": _safetensors,
}
"""Ending of a file -> what reads its metadata."""
