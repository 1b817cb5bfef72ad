"""The forms in which a network leaves its run, and the images that it takes then."""

from __future__ import annotations

from typing import Literal

Form = Literal["onnx", "pt2", "safetensors"]
"""Kinds of files that a network is exported to; each is also the ending of its name."""

Values = Literal["0-255", "0-1", "normalised"]
"""The images that a network takes: bytes, uint8; their values over 255, float32; or those less the mean and
over the standard deviation of the channels, float32."""
