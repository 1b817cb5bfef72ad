"""Segmentation as pictures: images, their masks, what networks name, and where they are wrong.

An SVG that holds the pictures themselves, so that a page needs nothing beside it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

from ...config.colours import IGNORED_COLOUR, MOST_CLASSES, Colour, class_colours
from ...config.words import count, named
from ...runs.layout import RunFolder
from ...runs.pictured import Picture, Pictured, read_pictured
from ...runs.reading import Run
from .chart import FAINT, INK, Figure
from .lettering import POINTS, inches, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

VOID = MOST_CLASSES
"""Number of a pixel in a mask that is not counted: the one after those that classes may have."""
RIGHT: Colour = (221, 225, 230)
WRONG: Colour = (178, 24, 43)

# In units of the drawing, about pixels of a page.
WIDTH, GAP, TALLEST = 1000.0, 12.0, 320.0
SIZE, LINE, HEADING, SWATCH = 13.0, 22.0, 24.0, 13.0
PIXELS = 96
"""An inch."""
ACROSS = 5
"""Columns beside one another, at most; further ones go below."""


class Cell(NamedTuple):
    """A picture in the drawing: its file, and its kind, ``png`` or ``jpeg``."""

    data: bytes
    kind: str


class Column(NamedTuple):
    """Pictures below one another, one of each image, and what stands above them."""

    heading: str
    cells: Sequence[Cell]


def run_pictures(run: Run) -> Figure | None:
    """The pictures of a run: image, mask, prediction, errors; None if it has none.

    Raises:
        ValueError: its file of pictures has another form.
    """
    found = _read(run)
    if found is None:
        return None
    of = found.pictures
    columns = [
        *_columns(found),
        Column("prediction", [Cell(each.named, "png") for each in of]),
        Column("errors", [Cell(_errors(each), "png") for each in of]),
    ]
    masks = [data for each in of for data in (each.mask, each.named)]
    return Figure(
        draw(columns, [*_legend(found, masks), ("right", RIGHT), ("wrong", WRONG)], "Predictions"),
        f"{_which(found)}, as the network sees them: the image, its mask, what the deployed network (last "
        "epoch) names, and where the two differ.",
    )


def comparison_pictures(runs: Sequence[Run]) -> Figure | None:
    """The same images as the methods of several runs name them, each by the first of its runs.

    None if no run has pictures. Runs whose pictures are of other images are left out.

    Raises:
        ValueError: a file of pictures has another form.
    """
    firsts = {run.name: run for run in reversed(runs) if run.result is not None}
    names = [name for name in dict.fromkeys(run.name for run in runs) if name in firsts]
    read = {name: found for name in names if (found := _read(firsts[name])) is not None}
    if not read:
        return None
    first = next(iter(read.values()))
    alike = {name: found for name, found in read.items() if _of(found) == _of(first)}
    columns = _columns(first)
    columns += [Column(name, [Cell(p.named, "png") for p in found.pictures]) for name, found in alike.items()]
    masks = [p.mask for p in first.pictures] + [p.named for found in alike.values() for p in found.pictures]
    seeds = named("seed", (firsts[name].outcome["seed"] for name in alike))
    return Figure(
        draw(columns, _legend(first, masks), "Predictions of the methods"),
        f"{_which(first)}, as the networks see them: the image, its mask, and what the deployed network of "
        f"each method (last epoch, {seeds}) names.",
    )


def _read(run: Run) -> Pictured | None:
    """The pictures of a finished run, each of which can be read."""
    found = read_pictured(run.folder) if run.result is not None else None
    for picture in found.pictures if found else ():
        sizes = {_checked(run, picture.row, *file) for file in _files(picture)}
        if len(sizes) > 1:
            raise ValueError(_refusal(run, f"row {picture.row} has parts of several sizes, {sorted(sizes)}"))
    return found if found is not None and found.pictures else None


def _refusal(run: Run, why: str) -> str:
    file = RunFolder(run.folder).pictures
    return f"{file} does not hold the pictures of a run ({why}); remove it, and the page is made without them"


def _checked(run: Run, row: int, data: bytes, kind: str) -> tuple[int, ...]:
    """(height, width) of a part that can be read."""
    from PIL import Image

    try:
        return _opened(data, kind).shape[:2]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(_refusal(run, f"a part of row {row} is not the {kind} that it should be")) from error


def _files(picture: Picture) -> Iterator[tuple[bytes, str]]:
    yield from ((picture.image, "jpeg"), (picture.mask, "png"), (picture.named, "png"))


def _opened(data: bytes, kind: str) -> NDArray[Any]:
    """The numbers of a picture: of a PNG those of its palette, (H, W)."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=[kind]) as picture:
        if kind == "png" and picture.mode not in ("P", "L"):
            raise ValueError(f"a mask with a palette is expected, got a picture of mode {picture.mode}")
        return np.asarray(picture)


def _of(found: Pictured) -> tuple[object, ...]:
    """What two runs must share for their predictions to stand beside one another."""
    return found.split, found.classes, [(each.row, each.mask) for each in found.pictures]


def _which(found: Pictured) -> str:
    rows = named("row", (each.row for each in found.pictures))
    return f"{len(found.pictures)} of {count(found.images, 'image')} of the {found.split} split ({rows})"


def _columns(found: Pictured) -> list[Column]:
    images = [Cell(each.image, "jpeg") for each in found.pictures]
    return [Column("image", images), Column("mask", [Cell(each.mask, "png") for each in found.pictures])]


def _errors(picture: Picture) -> bytes:
    """PNG: right, wrong, or not counted."""
    import numpy as np
    from PIL import Image

    mask, guess = _opened(picture.mask, "png"), _opened(picture.named, "png")
    shown = np.where(mask == VOID, 2, mask != guess).astype(np.uint8)
    out, drawn = io.BytesIO(), Image.fromarray(shown)
    drawn.putpalette([*RIGHT, *WRONG, *IGNORED_COLOUR])
    drawn.save(out, "png", optimize=True)
    return out.getvalue()


def _legend(found: Pictured, masks: Sequence[bytes]) -> list[tuple[str, Colour]]:
    """Name and colour of each class that occurs in these masks, and of pixels that are not counted."""
    import numpy as np

    numbers = {int(number) for data in masks for number in np.unique(_opened(data, "png"))}
    colours = class_colours(len(found.classes))
    legend = [(found.classes[k], colours[k]) for k in sorted(numbers) if k < len(colours)]
    return legend + ([("not counted", IGNORED_COLOUR)] if VOID in numbers else [])


# ---------------------------------------------------------------- the drawing


def draw(columns: Sequence[Column], legend: Sequence[tuple[str, Colour]], title: str) -> str:
    """The pictures in columns with a legend below, as SVG.

    Args:
        columns: of as many pictures each.
        legend: name and colour of each class.
        title: read to those who cannot see it.
    """
    parts, top = [f"<title>{escape(title)}</title>"], 0.0
    # The image and its mask stand in every line of columns.
    beside = max(1, ACROSS - 2)
    rest = columns[2:]
    for first in range(0, max(1, len(rest)), beside):
        drawn, top = _block([*columns[:2], *rest[first : first + beside]], min(len(columns), ACROSS), top)
        parts += drawn
    drawn, height = _drawn_legend(legend, top + 4)
    parts += drawn
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH:g} {height:g}" '
        f'font-size="{SIZE:g}" font-family="sans-serif" fill="{INK}">{"".join(parts)}</svg>'
    )


def _block(columns: Sequence[Column], across: int, top: float) -> tuple[list[str], float]:
    """Columns beside one another from this height on, and the height at which they end."""
    wide = (WIDTH - (across - 1) * GAP) / across
    lefts = [number * (wide + GAP) for number in range(len(columns))]
    parts = [
        _text(left, top + SIZE, shortened(column.heading, _points(SIZE), wide / PIXELS), "600")
        for left, column in zip(lefts, columns, strict=True)
    ]
    top += HEADING
    for row, cell in enumerate(columns[0].cells):
        height, width = _opened(cell.data, cell.kind).shape[:2]
        scale = min(wide / width, TALLEST / height)
        size = width * scale, height * scale
        parts += [_picture(c.cells[row], (x, top), size) for x, c in zip(lefts, columns, strict=True)]
        top += size[1] + GAP
    return parts, top


def _drawn_legend(legend: Sequence[tuple[str, Colour]], top: float) -> tuple[list[str], float]:
    """Names beside their colours, in as many lines as they need, and the height at which they end."""
    parts, x = [], 0.0
    for name, colour in legend:
        name = shortened(name, _points(SIZE), (WIDTH - 2 * SWATCH) / PIXELS)
        long = SWATCH + 6 + inches(name, _points(SIZE)) * PIXELS
        if x and x + long > WIDTH:
            x, top = 0.0, top + LINE
        parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{SWATCH:g}" height="{SWATCH:g}" rx="2" '
            f'fill="rgb{colour}" stroke="{INK}" stroke-width=".5"/>'
        )
        parts.append(_text(x + SWATCH + 6, top + SWATCH - 2, name))
        x += long + 16
    return parts, top + LINE


def _points(size: float) -> float:
    return size * POINTS / PIXELS


def _text(x: float, y: float, text: str, weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-weight="{weight}">{escape(text)}</text>'


def _picture(cell: Cell, place: tuple[float, float], size: tuple[float, float]) -> str:
    """A picture and a line around it: pixels that are not counted are as white as the page."""
    (x, y), (width, height) = place, size
    where = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    data = base64.b64encode(cell.data).decode()
    # Of classes there is nothing between two pixels.
    look = ' style="image-rendering:pixelated"' if cell.kind == "png" else ""
    return (
        f'<image {where} preserveAspectRatio="none"{look} href="data:image/{cell.kind};base64,{data}"/>'
        f'<rect {where} fill="none" stroke="{FAINT}"/>'
    )
