"""A check of image files before anything is trained: by their headers and their ends, in threads.

A header tells whether a file is an image, of which kind and size. JPEG, PNG, GIF and WebP files say where
they end, so that one whose end is missing is decoded to see whether it is whole. Damage in the middle of a
file is found only when it is decoded: ``thorough`` does that.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from PIL import Image

from ..config.text import shown
from . import pictures
from .pictures import PictureError, Reading, decode, reason
from .stored import Picture, length, opened, stream

Progress = Callable[[int, int], None]
"""Is told how many files of how many are checked."""

CHUNK = 64
"""Files that a thread checks at a time."""
NAMED = 5
"""Files that a message lists by name."""
LONG = 2.0
"""Longer side over shorter: above, most of a picture is outside of its central square."""
TAIL = 64
"""Bytes of the end of a file, within which its end mark is."""

ENDS: dict[str, bytes] = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x3b"}
"""Format -> mark at the end of its files."""


@dataclass
class Findings:
    """What a check found.

    Attributes:
        images: how many files were checked.
        kinds: how many of them are of each kind that is changed as it is read; see :meth:`notes`.
        bad: the files that cannot be read, and why.
        long: how many are more than twice as long as wide, or the other way.
        longest: size of the one of the highest ratio, (width, height).
        sizes: how many there are of each size up to 64 pixels; of larger ones, all in one, as (0, 0).
    """

    images: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[Picture, str]] = field(default_factory=list)
    long: int = 0
    longest: tuple[int, int] = (1, 1)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, other: Findings) -> None:
        """Those of further files."""
        self.images += other.images
        self.kinds += other.kinds
        self.bad += other.bad
        self.long += other.long
        self.longest = max(self.longest, other.longest, key=_ratio)
        self.sizes += other.sizes

    def notes(self, reading: Reading, guessed: int | None = None) -> tuple[str, ...]:
        """Remarks on how the images are read, for people.

        Args:
            reading: how they are.
            guessed: side in pixels that they are read with, if it is that of the first ones.
        """
        done = {
            "16 bits": "of 16 bits scaled to 8",
            "turned": "turned upright (EXIF)",
            "exif": "whose EXIF data cannot be read, taken as upright",
            "transparent": f"with transparency, on {reading.background} (--background)",
            "frames": "with several frames or pages, of which the first is read",
            **{name: f"{name}, converted" for name in pictures.CONVERTED.values()},
        }
        parts = [f"{self.kinds[kind]:,} {text}" for kind, text in done.items() if self.kinds[kind]]
        count = self.images - len(self.bad)
        notes = [f"of {count:,} images: {'; '.join(parts)}"] if parts else []
        side = guessed or 0
        others = count - self.sizes[side, side]
        if 0 < side <= pictures.SMALL and others:
            notes.append(
                f"{others:,} of {count:,} images are not {side} x {side} pixels as the others are, "
                "and are resized to that; --image-size gives another size"
            )
        if reading.fit == "crop" and self.long:
            width, height = self.longest
            notes.append(
                f"{self.long:,} of {count:,} images have one side more than {LONG:g} times the other "
                f"(the longest is {width} x {height}), and evaluation sees their middle only; --fit pad or "
                "--fit squash shows all of them"
            )
        return tuple(notes)


def check(
    paths: Sequence[Picture], reading: Reading, *, thorough: bool = False, progress: Progress | None = None
) -> Findings:
    """Look at files, and decode those of which a look is not enough.

    Args:
        paths: of images.
        reading: how they will be read.
        thorough: decode every file.
        progress: called now and then.
    """
    # Pillow loads its readers at the first picture, once and not in several threads.
    Image.init()
    findings = Findings()
    threads = min(16, 2 * (os.cpu_count() or 1))

    def look(chunk: Sequence[Picture]) -> Findings:
        found = Findings()
        for path in chunk:
            _look(path, reading, thorough, found)
        return found

    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(look, _chunks(paths)):
            findings.add(found)
            if progress is not None:
                progress(findings.images, len(paths))
    return findings


def _chunks(paths: Sequence[Picture]) -> Iterator[Sequence[Picture]]:
    for start in range(0, len(paths), CHUNK):
        yield paths[start : start + CHUNK]


def _look(path: Picture, reading: Reading, thorough: bool, found: Findings) -> None:
    """Add one file to the findings."""
    found.images += 1
    try:
        if length(path) == 0:
            raise ValueError("it is empty")
        with opened(path) as picture:
            if why := pictures.refusal(picture):
                raise ValueError(why)
            kinds, size, suspicious = _kinds(picture), picture.size, not _ends(picture, path)
        if thorough or suspicious:
            decode(path, reading)
    except PictureError as error:
        found.bad.append((path, error.reason))
    # As in :func:`cohobate.data.pictures.decode`.
    except Exception as error:
        found.bad.append((path, reason(error)))
    else:
        found.kinds.update(kinds)
        found.long += _ratio(size) > LONG
        found.longest = max(found.longest, size, key=_ratio)
        found.sizes[size if max(size) <= pictures.SMALL else (0, 0)] += 1


def _kinds(picture: Image.Image) -> list[str]:
    turned = pictures.orientation(picture, known=False)
    # The further pictures of an MPO, which cameras write, are previews of the first.
    several = picture.format != "MPO" and getattr(picture, "is_animated", False)
    kinds = {
        "16 bits": pictures.is_deep(picture),
        "exif": turned is None,
        "turned": turned not in (None, 1),
        "transparent": pictures.is_transparent(picture),
        "frames": several,
        pictures.CONVERTED.get(picture.mode, ""): picture.mode in pictures.CONVERTED,
    }
    return [kind for kind, applies in kinds.items() if applies]


def _ends(picture: Image.Image, path: Picture) -> bool:
    """Whether a file has the end that its format prescribes, or the format prescribes none."""
    with stream(path) as file:
        if picture.format == "WEBP":
            return int.from_bytes(file.read(8)[4:], "little") + 8 <= length(path)
        if picture.format not in ENDS:
            return True
        file.seek(max(0, length(path) - TAIL))
        return ENDS[picture.format] in file.read()


def _ratio(size: tuple[int, int]) -> float:
    return max(size) / max(1, min(size))


def listed(bad: Sequence[tuple[Picture, str]]) -> str:
    """The first few of the files that cannot be read, and why, as a text of one line."""
    names = "; ".join(f"{shown(str(path))}: {why}" for path, why in bad[:NAMED])
    return names + (f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else "")
