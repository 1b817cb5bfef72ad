"""Picture files of every awkward kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Write = Callable[[Path, Image.Image], None]
"""Writes a picture, 40 x 30 pixels in RGB, into a file of this name."""


def _grey16(path: Path, picture: Image.Image) -> None:
    values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(values).save(path)


def _turned(path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)


def _transparent(mode: str) -> Write:
    def write(path: Path, picture: Image.Image) -> None:
        picture = picture.convert("RGBA")
        picture.paste((255, 0, 0, 0), (0, 0, 10, 30))
        picture.convert(mode).save(path)

    return write


def _see_through_palette(path: Path, picture: Image.Image) -> None:
    picture = picture.convert("P")
    picture.save(path, transparency=picture.getpixel((0, 0)))


def _animated(path: Path, picture: Image.Image) -> None:
    others = [Image.new("RGB", picture.size, colour) for colour in ("red", "lime")]
    picture.save(path, save_all=True, append_images=others, lossless=True)


def _in(mode: str) -> Write:
    return lambda path, picture: picture.convert(mode).save(path)


def _strip(path: Path, picture: Image.Image) -> None:
    picture.resize((300, 60)).save(path)


KINDS: dict[str, Write] = {
    "plain.jpg": _in("RGB"),
    "sixteen.png": _grey16,
    "sixteen.tiff": _grey16,
    "turned.jpg": _turned,
    "turned.png": _turned,
    "turned.tif": _turned,
    "rgba.png": _transparent("RGBA"),
    "la.png": _transparent("LA"),
    "cmyk.jpg": _in("CMYK"),
    "palette.png": _in("P"),
    "palette2.png": _see_through_palette,
    "animated.gif": _animated,
    "animated.webp": _animated,
    "onebit.png": _in("1"),
    "grey.JPEG": _in("L"),
    "strip.png": _strip,
    "sub/deeper/hidden.bmp": _in("RGB"),
    "smörgås-写真 🐸.png": _in("RGB"),
    "caf\udce9.png": _in("RGB"),
}
"""Name of a file -> how it is written."""


def picture(class_: int, seed: int = 0) -> Image.Image:
    """40 x 30 pixels of noise, dark in class 0 and bright in class 1."""
    noise = np.random.default_rng(seed).integers(0, 80, (30, 40, 3))
    return Image.fromarray((noise + 160 * class_).astype(np.uint8))


def fill(folder: Path, class_: int) -> None:
    """A file of each kind in a class folder."""
    for seed, (name, write) in enumerate(KINDS.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, picture(class_, seed))


def awkward_folder(root: Path) -> int:
    """Two classes of every kind of picture to learn from, some in ``valid`` and ``test``; how many there are.

    Beside them are a broken link, a file that is cut short and one that is no image, files of other kinds,
    and what systems leave behind.
    """
    for class_, name in enumerate(("dark", "bright")):
        fill(root / "train" / name, class_)
        for part in ("valid", "test"):
            for kind in ("rgba.png", "sixteen.png", "turned.jpg", "plain.jpg", "strip.png"):
                (root / part / name).mkdir(parents=True, exist_ok=True)
                KINDS[kind](root / part / name / kind, picture(class_))
    dark = root / "train" / "dark"
    os.symlink("gone.png", dark / "link.png")
    whole = (dark / "plain.jpg").read_bytes()
    (dark / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (dark / "non\udce9.png").write_bytes(b"no image")
    for junk in (dark / ".DS_Store", dark / "Thumbs.db", root / ".DS_Store"):
        junk.write_bytes(b"\0\0\0\1Bud1")
    (dark / "notes.txt").write_text("of the frog")
    (dark / "phone.heic").write_bytes(b"\0")
    (root / "train" / "labels.csv").write_text("a,b")
    (root / "masks").mkdir()
    return 2 * len(KINDS) + 2 * 2 * 5
