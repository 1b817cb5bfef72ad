"""The forms in which a network leaves its run, and the images that it takes then."""

from __future__ import annotations

from typing import Literal

Form = Literal["onnx", "pt2", "safetensors"]
"""Kinds of files that a network is exported to; each is also the ending of its name."""

Values = Literal["0-255", "0-1", "normalised"]
"""The images that a network takes: bytes, uint8; their values over 255, float32; or those less the mean and
over the standard deviation of the channels, float32."""

OLDEST_OPSET, OPSET = 18, 18
"""The oldest opset that torch's exporter writes, and the one that is written by default."""


def check_opset(opset: int) -> None:
    """Raise a ValueError for an opset that cannot be written; onnx must be installed."""
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset {opset} cannot be written: torch's exporter writes {OLDEST_OPSET} and newer, onnx "
            f"{onnx.__version__} knows up to {newest}"
        )
