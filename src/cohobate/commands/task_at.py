"""What a network predicts, by the header of its file: nothing is built, and no torch is read for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from ..config.extras import require
from ..runs.layout import RunFolder

LONGEST = 2**24
"""Bytes of a header that are read, at most."""


def segments(path: Path) -> bool:
    """Whether the network of a run or of a file gives every pixel a class, as far as its header says so.

    False for whatever cannot be read, of which :func:`cohobate.commands.ready_opened.ready_network` says what
    is wrong with it.

    Raises:
        ImportError: it is an ONNX file, and its libraries are not installed; the message names the extra.
    """
    file = RunFolder(path).deployed if path.is_dir() else path
    try:
        return _said(file).get("task") == "segmentation"
    # A damaged file makes one of these; it is opened again, and refused then.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _said(file: Path) -> dict[str, Any]:
    if file.suffix == ".onnx":
        require("export", "an ONNX file")
        import onnx

        try:
            model = onnx.load(file, load_external_data=False)
        except Exception as error:  # protobuf has a class of its own, which onnx does not name
            raise ValueError(f"{file}: {error}") from error
        return {each.key: each.value for each in model.metadata_props}
    with file.open("rb") as opened:
        return facts_in(opened)


def facts_in(file: BinaryIO) -> dict[str, Any]:
    """The facts in the header of a safetensors file; its tensors are not read.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: it has no such header.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST:
        raise ValueError(f"a header of {length:,} bytes")
    facts: dict[str, Any] = json.loads(json.loads(file.read(length))["__metadata__"]["facts"])
    return facts
