"""Masks as PNG files: numbers with a palette, and colours over the picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..config.colours import IGNORED_COLOUR, Colour

Numbers = NDArray[np.uint8]
"""(H, W), the class of each pixel."""


def mask_png(mask: Numbers, colours: Sequence[Colour]) -> bytes:
    """A PNG of 8 bits with a palette: viewers show colours, and NumPy reads the numbers of the classes.

    Args:
        mask: (H, W).
        colours: of the classes 0 to K - 1.
    """
    image = Image.fromarray(mask)
    # With a whole palette each pixel has 8 bits; with fewer colours Pillow would pack several into a byte.
    unused = [IGNORED_COLOUR] * (256 - len(colours))
    image.putpalette(np.array([*colours, *unused], np.uint8).tobytes())
    return _png(image, optimize=True)


def overlay_png(picture: Image.Image, mask: Numbers, colours: Sequence[Colour], opacity: float) -> bytes:
    """A PNG of the picture under the colours of its classes, in RGB.

    Args:
        picture: W x H pixels, in RGB or grey.
        mask: (H, W).
        colours: of the classes 0 to K - 1.
        opacity: how much the colours cover the picture, 0 to 1.

    Raises:
        ValueError: picture and mask are of different sizes.
    """
    if picture.size != mask.shape[::-1]:
        raise ValueError(f"a picture of {picture.size} pixels, and a mask of {mask.shape[::-1]}")
    painted = Image.fromarray(np.array(colours, np.uint8)[mask])
    return _png(Image.blend(picture.convert("RGB"), painted, opacity), compress_level=1)


def _png(image: Image.Image, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **how)
    return file.getvalue()
