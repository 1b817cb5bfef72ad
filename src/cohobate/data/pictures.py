"""The one reader of image files: for training, evaluation, unlabelled images and pictures of attention.

A file becomes an upright picture in RGB with 8 bits a channel:

- 16-bit grey: all of 0 to 65535 is scaled to 0 to 255. 16-bit colour: the upper 8 bits are taken.
- The orientation that a camera wrote (EXIF) is applied.
- Transparent pixels show the background, whatever colour is hidden in them.
- CMYK, YCbCr, HSV, palettes, grey and one bit are converted.
- Of an animation, or of several pages, the first is read.

Pixels of 32 bits and floating ones are refused, since no file says which range of values it means, and so is
CIELAB.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..config.colours import colour
from ..config.text import shown
from .stored import Picture, opened

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
SMALL = 64
"""Up to this side, in pixels, images are held in memory."""

Fit = Literal["crop", "pad", "squash"]

ORIENTATION = 0x0112
"""EXIF's tag."""
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of this orientation upright."""

CONVERTED = {"1": "one-bit", "P": "palette", "PA": "palette", "CMYK": "CMYK", "YCbCr": "YCbCr", "HSV": "HSV"}
"""Mode of Pillow -> name of pictures that are converted."""
PLAIN = {"L", "RGB", "RGBX", "LA", "RGBA", "RGBa"}
REFUSED = {
    "I": "integers of 32 bits or with a sign, whose range the file does not say",
    "F": "floating-point numbers, whose range the file does not say",
    "LAB": "CIELAB colours",
}


REMEDY = (
    "mend or remove it and give the same command again (a new run finds such files before its training by "
    "--skip-unreadable, and leaves them out)"
)
"""What to do about a file that cannot be decoded, met while a run is trained or measured."""


class PictureError(ValueError):
    """A file cannot be read as a picture; the message names it.

    Attributes:
        reason: why, for a line that names the file itself.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


@dataclass(frozen=True)
class Reading:
    """How a picture of any shape and kind becomes an image for the network.

    Attributes:
        fit: ``crop`` fills the image and cuts off what sticks out on the longer side; ``pad`` shows the whole
            picture on the background; ``squash`` the whole picture, without keeping its proportions.
        background: shown through transparent pixels and beside a padded picture: a name of
            :data:`cohobate.config.colours.NAMED`, or ``#rrggbb``.
        channels: 3 (RGB) or 1 (grey).
        eval_resize: shorter side in pixels to which a picture is resized before its central crop; if that is
            not square, the shorter side of an area of its proportions that the resized picture covers. None:
            256/224 of the size of images larger than 64 pixels, and the size itself of others.
        averaged_from: (height, width) to which a picture is brought before it is averaged over areas to the
            size, as the images of a data set in memory are (``--image-size``); None: it is resized at once.

    Raises:
        ValueError: another fit, no colour, another number of channels, or a shorter side that is below 1 or
            of a picture that is not cropped.
    """

    fit: Fit = "crop"
    background: str = "white"
    channels: int = 3
    eval_resize: int | None = None
    averaged_from: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.fit not in ("crop", "pad", "squash"):
            raise ValueError(f"fit must be crop, pad or squash, got {self.fit!r}")
        colour(self.background)
        if self.channels not in (1, 3):
            raise ValueError(
                "the images of a folder are read in 3 channels (RGB) or 1 (grey), got channels "
                f"{self.channels}; other numbers of channels are for arrays, in a file .npz"
            )
        if self.eval_resize is not None and self.fit != "crop":
            raise ValueError(
                f"eval_resize {self.eval_resize} is for fit crop, which takes the middle of a picture of "
                f"that size; fit {self.fit} shows all of it: leave one of the two out"
            )
        if self.eval_resize is not None and self.averaged_from is not None:
            raise ValueError("eval_resize and averaged_from are two ways to resize a picture; leave one out")
        if self.eval_resize is not None and self.eval_resize < 1:
            raise ValueError(f"eval_resize must be at least 1 pixel, got {self.eval_resize}")

    @property
    def colour(self) -> tuple[int, int, int]:
        """Of the background."""
        return colour(self.background)


def changed(reading: Reading) -> dict[str, object]:
    """Its options that are not at their default."""
    return {key: value for key, value in asdict(reading).items() if value != getattr(Reading, key)}


def decode(path: Picture, reading: Reading) -> Image.Image:
    """The picture in a file, or in a row of a table, upright, in RGB or grey.

    Raises:
        PictureError: it cannot be decoded, or its pixels are of a kind that is refused.
    """
    try:
        with opened(path) as picture:
            return _upright(picture, reading)
    # Pillow's readers raise all kinds of errors on damaged files.
    except Exception as error:
        why = reason(error)
        raise PictureError(f"{shown(str(path))} cannot be decoded: {why}", why) from error


def decode_bytes(content: bytes, where: str, reading: Reading) -> Image.Image:
    """The same of a file in memory, as one in an archive is; ``where`` names it in messages.

    Raises:
        PictureError: see :func:`decode`.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return _upright(picture, reading)
    except Exception as error:
        why = reason(error)
        raise PictureError(f"{shown(where)} cannot be decoded: {why}", why) from error


def size_in(content: bytes, where: str) -> tuple[int, int]:
    """(height, width) of a picture as its header has it, however large; its pixels are not decoded.

    Raises:
        PictureError: it is no picture.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of a size that is large, which is for the caller to judge.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                return picture.height, picture.width
    except Exception as error:
        why = reason(error)
        raise PictureError(f"{shown(where)} cannot be decoded: {why}", why) from error


def as_read(picture: Image.Image, reading: Reading) -> Image.Image:
    """A picture of Pillow, opened or made, as it would be read from a file; it stays as it is.

    Raises:
        PictureError: it cannot be decoded, or its pixels are of a kind that is refused.
    """
    try:
        return _upright(picture, reading)
    except Exception as error:
        why = reason(error)
        raise PictureError(f"the picture cannot be decoded: {why}", why) from error


def _upright(picture: Image.Image, reading: Reading) -> Image.Image:
    # First of all: a PNG may have its EXIF behind its pixels.
    picture.load()
    # Pillow itself turns a TIFF as it loads it.
    value = 1 if picture.format == "TIFF" else orientation(picture) or 1
    upright = _turned(_rgb(picture, reading.colour), value)
    return upright.convert("L") if reading.channels == 1 else upright


def orientation(picture: Image.Image, known: bool = True) -> int | None:
    """EXIF's orientation, 1 (upright) to 8; None if the EXIF data cannot be read.

    Args:
        picture: opened.
        known: whether its pixels are loaded; else they stay so, though a PNG may have EXIF behind them.
    """
    try:
        exif = picture.getexif() if known else Image.Image.getexif(picture)
        value = exif.get(ORIENTATION, 1)
    except Exception:
        return None
    if "exif" in picture.info and not len(exif):
        return None  # Pillow itself has tried to read it before, and says nothing the second time.
    return value if value in TURNED else 1


def _turned(picture: Image.Image, value: int) -> Image.Image:
    return picture.transpose(TURNED[value]) if value in TURNED else picture


def is_deep(picture: Image.Image) -> bool:
    """Whether it is grey with 16 bits a pixel; older versions of Pillow give a PNG of those 32."""
    return picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))


def is_transparent(picture: Image.Image) -> bool:
    """Whether some of its pixels may be transparent."""
    palette = picture.palette.mode if picture.mode == "P" and picture.palette else ""
    return (
        picture.mode in ("LA", "PA", "RGBA", "RGBa")
        or "transparency" in picture.info
        or palette.endswith("A")
    )


def refusal(picture: Image.Image) -> str | None:
    """Why pixels of this kind are not read; None if they are."""
    if is_deep(picture) or picture.mode in PLAIN or picture.mode in CONVERTED:
        return None
    kind = REFUSED.get(picture.mode, f"of Pillow's mode {picture.mode}")
    return f"its pixels are {kind}; save it in RGB or grey, with 8 or 16 bits"


def _rgb(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """In RGB, on a background of this colour where it is transparent."""
    if why := refusal(picture):
        raise ValueError(why)
    if is_deep(picture):
        picture = _of_eight_bits(picture)
    if not is_transparent(picture):
        return picture.convert("RGB")
    below = Image.new("RGBA", picture.size, background)
    return Image.alpha_composite(below, picture.convert("RGBA")).convert("RGB")


def _of_eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits; a value that the file declares transparent becomes so."""
    values = np.asarray(picture).astype(np.int64)
    # Pillow turns such pixels round with 8 bits, but not with 16.
    photometric = getattr(picture, "tag_v2", {}).get(262)
    grey = Image.fromarray((((65535 - values if photometric == 0 else values) + 128) // 257).astype(np.uint8))
    hidden = picture.info.get("transparency")
    if hidden is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))))


def reason(error: BaseException) -> str:
    """An error of Pillow or of the system, for a line that names the file itself."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of a format that Pillow does not know"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
