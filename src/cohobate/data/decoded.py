"""Pictures of any size decoded by workers, as they are evaluated: the readable ones in whole batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..config.text import first_line
from .pictures import PictureError, Reading, as_read, decode, reason
from .raw import image

CHUNK = 32
"""Pictures that a worker decodes at a time."""

Picture = Path | Image.Image
Size = tuple[int, int]
"""(height, width), in pixels."""


class Decoded(NamedTuple):
    """A picture as an image.

    Attributes:
        pixels: of the image, uint8 (H, W, C).
        size: (height, width) of the picture itself, upright.
    """

    pixels: Tensor
    size: Size


class Chunk(NamedTuple):
    """Some pictures.

    Attributes:
        rows: numbers of those that could be read.
        pixels: of these, uint8 (B, H, W, C).
        sizes: of these, the pictures' own.
        bad: numbers of the others, and why.
    """

    rows: list[int]
    pixels: Tensor
    sizes: list[Size]
    bad: list[tuple[int, str]]


class Portion(NamedTuple):
    """A batch of images.

    Attributes:
        rows: their numbers.
        pixels: uint8 (B, H, W, C), or what else answers are given to.
        sizes: (height, width) of the pictures themselves.
    """

    rows: list[int]
    pixels: Tensor
    sizes: list[Size]


@final
class Decoder(TorchDataset[tuple[int, Decoded | str]]):
    """Number of a picture -> the number, and the image, or what is wrong with it.

    Args:
        pictures: files, or pictures of Pillow.
        size: (height, width) of the images.
        reading: how a picture becomes one.
    """

    def __init__(self, pictures: Sequence[Picture], size: tuple[int, int], reading: Reading) -> None:
        self.pictures, self.size, self.reading = pictures, size, reading

    def __getitem__(self, row: int) -> tuple[int, Decoded | str]:
        given = self.pictures[row]
        try:
            picture = upright(given, self.reading)
            pixels = image(picture, self.size, self.reading)
            return row, Decoded(pixels, (picture.height, picture.width))
        except PictureError as error:
            return row, error.reason
        # A very long or large picture may be too large to be resized.
        except (MemoryError, ValueError, OSError) as error:
            return row, f"it cannot be resized: {reason(error)}"


def upright(picture: Picture, reading: Reading) -> Image.Image:
    """A picture of its own size, as it is read.

    Raises:
        PictureError: it cannot be decoded, or its pixels are of a kind that is refused.
    """
    return decode(picture, reading) if isinstance(picture, Path) else as_read(picture, reading)


def gathered(items: Sequence[tuple[int, Decoded | str]]) -> Chunk:
    """One tensor of all of them: each that crosses processes holds a file open."""
    good = [(row, found) for row, found in items if isinstance(found, Decoded)]
    bad = [(row, found) for row, found in items if isinstance(found, str)]
    pixels = torch.stack([each.pixels for _, each in good]) if good else torch.empty(0, dtype=torch.uint8)
    return Chunk([row for row, _ in good], pixels, [each.size for _, each in good], bad)


def chunks(
    decoder: Decoder, workers: int, reach: Callable[[int], None] = lambda done: None
) -> Iterator[Chunk]:
    """All pictures in order.

    Args:
        decoder: of the pictures.
        workers: processes that decode them; none where there is one chunk. 0: this one does.
        reach: is told how many are decoded.

    Raises:
        ValueError: a worker has ended, killed for example where memory is short.
    """
    count = len(decoder.pictures)
    places = [list(range(first, min(first + CHUNK, count))) for first in range(0, count, CHUNK)]
    loader = DataLoader(
        decoder,
        batch_sampler=places,
        num_workers=workers if len(places) > 1 else 0,
        collate_fn=gathered,
        # By default the loader draws its seed from the global generator, which would change dropout.
        generator=torch.Generator().manual_seed(0),
    )
    try:
        for place, chunk in zip(places, loader, strict=True):
            yield chunk
            reach(place[-1] + 1)
    except RuntimeError as error:
        raise ValueError(
            f"a process that decodes images has failed: {first_line(error)}; give --workers 0, or a smaller "
            "--batch-size"
        ) from None
    except Exception as error:
        # A traceback refers to the loader's frames and would keep its workers alive.
        raise error.with_traceback(None) from error.__cause__


def batches(pieces: Iterable[Chunk], size: int, bad: Callable[[int, str], None]) -> Iterator[Portion]:
    """Portions of so many readable pictures; the last may be short.

    So the batches are those of a folder in which the others are not.

    Args:
        pieces: in order.
        size: B.
        bad: is told the number of a picture that cannot be read, and why, as it is met; it may raise.
    """
    rows: list[int] = []
    sizes: list[Size] = []
    held: list[Tensor] = []
    for piece in pieces:
        for row, why in piece.bad:
            bad(row, why)
        rows += piece.rows
        sizes += piece.sizes
        held += [piece.pixels] if piece.rows else []
        while len(rows) >= size:
            pixels = torch.cat(held)
            yield Portion(rows[:size], pixels[:size], sizes[:size])
            rows, sizes, held = rows[size:], sizes[size:], [pixels[size:]]
    if rows:
        yield Portion(rows, torch.cat(held), sizes)
