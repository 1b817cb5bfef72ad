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


class Chunk(NamedTuple):
    """Some pictures.

    Attributes:
        rows: numbers of those that could be read.
        pixels: of these, uint8 (B, H, W, C).
        bad: numbers of the others, and why.
    """

    rows: list[int]
    pixels: Tensor
    bad: list[tuple[int, str]]


@final
class Decoder(TorchDataset[tuple[int, Tensor | str]]):
    """Number of a picture -> the number, and its pixels, uint8 (H, W, C), or what is wrong with it.

    Args:
        pictures: files, or pictures of Pillow.
        size: (height, width) of the images.
        reading: how a picture becomes one.
    """

    def __init__(self, pictures: Sequence[Picture], size: tuple[int, int], reading: Reading) -> None:
        self.pictures, self.size, self.reading = pictures, size, reading

    def __getitem__(self, row: int) -> tuple[int, Tensor | str]:
        picture = self.pictures[row]
        try:
            read = decode if isinstance(picture, Path) else as_read
            return row, image(read(picture, self.reading), self.size, self.reading)  # type: ignore[arg-type]
        except PictureError as error:
            return row, error.reason
        # A very long or large picture may be too large to be resized.
        except (MemoryError, ValueError, OSError) as error:
            return row, f"it cannot be resized: {reason(error)}"


def gathered(items: Sequence[tuple[int, Tensor | str]]) -> Chunk:
    """One tensor of all of them: each that crosses processes holds a file open."""
    good = [(row, found) for row, found in items if isinstance(found, Tensor)]
    bad = [(row, found) for row, found in items if isinstance(found, str)]
    pixels = torch.stack([found for _, found in good]) if good else torch.empty(0, dtype=torch.uint8)
    return Chunk([row for row, _ in good], pixels, bad)


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


def batches(
    pieces: Iterable[Chunk], size: int, bad: Callable[[int, str], None]
) -> Iterator[tuple[list[int], Tensor]]:
    """Numbers and pixels, uint8 (B, H, W, C), of so many readable pictures; the last batch may be short.

    So the batches are those of a folder in which the others are not.

    Args:
        pieces: in order.
        size: B.
        bad: is told the number of a picture that cannot be read, and why, as it is met; it may raise.
    """
    rows: list[int] = []
    held: list[Tensor] = []
    for piece in pieces:
        for row, why in piece.bad:
            bad(row, why)
        rows += piece.rows
        held += [piece.pixels] if piece.rows else []
        while len(rows) >= size:
            pixels = torch.cat(held)
            yield rows[:size], pixels[:size]
            rows, held = rows[size:], [pixels[size:]]
    if rows:
        yield rows, torch.cat(held)
