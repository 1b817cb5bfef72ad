"""Where networks look, as a picture: the attention map of each block over the image, epoch by epoch.

As figures 3 and 5 of FRSKD (Ji et al., CVPR 2021): the classifier in the first row of an image, its
self-teacher in the second. What a map is, and how its concentration is measured:
:mod:`cohobate.analysis.attention`.
"""

from __future__ import annotations

import io
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...analysis.attention import to_own_range
from ...config.words import count
from ..tables.attention import Attention
from .chart import FAINT, INK, PALETTE, our_style
from .lettering import inches, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

COLOURS = "inferno"
OPAQUE = 0.68
"""How much of a pixel is the map; the rest is the image in grey."""
GREY = (0.299, 0.587, 0.114)
WRONG = PALETTE[1]

# Inches, from the left: margin, image, names of the networks, then panels with a gap between.
CELL, SPACE, PANEL_GAP, NAMES = 0.95, 0.05, 0.3, 0.34
MARGIN, ANSWER, BAND_GAP, TITLE, HEADINGS, LINE = 0.18, 0.2, 0.16, 0.5, 0.44, 0.165
SMALL, LARGE = 8.0, 10.5  # points
SPARE = 0.02
"""Inches left free beside text, for rounding to pixels."""
BAR, KEY_GAP = 1.3, 0.08  # of the colour bar: its length, the room between it and text
LEAST_WIDTH = 5.6
DPI = 112
STEP = 5
"""Colours, 0 to 255, are rounded to multiples of it: it spares two fifths of the bytes unseen."""
ACROSS = 12
"""Maps beside one another, at most; later epochs go below."""
MOST_BANDS = 60
"""Images, times lines of epochs, that one picture holds."""


def draw(attention: Attention) -> bytes:
    """The picture as PNG: the same numbers give the same bytes.

    A band an image: the image with its class, then a panel an epoch, a row a network, a column a block.

    Raises:
        ValueError: more images and epochs than one picture holds.
    """
    from matplotlib.figure import Figure

    plan = _Plan(attention)
    bands = len(attention.rows) * len(plan.lines)
    if bands > MOST_BANDS:
        raise ValueError(
            f"{count(len(attention.rows), 'image')} at {count(len(attention.epochs), 'epoch')} do not fit "
            f"one picture ({bands} bands, at most {MOST_BANDS}); show fewer images or epochs"
        )
    with our_style(f"attention {attention.about}"):
        page = _Page(Figure(figsize=(plan.width, plan.height), dpi=DPI))
        page.text(MARGIN, 0.27, attention.about, size=LARGE, weight="bold")
        top = TITLE
        for line in plan.lines:
            _headings(page, plan, line, top)
            top += HEADINGS
            for i in range(len(attention.rows)):
                _band(page, plan, i, line, top)
                top += plan.band
        _colour_bar(page, top + LINE / 2)
        top += 1.6 * LINE
        for number, text in enumerate(plan.caption):
            page.text(MARGIN, top + (number + 0.5) * LINE, text, size=SMALL)
        return page.png()


def caption(attention: Attention) -> str:
    """What the maps are, for a reader who sees only the picture."""
    several = len(attention.networks) > 1
    shorter = len({len(look.maps) for look in attention.looks}) > 1
    rows = ", ".join(map(str, attention.rows))
    return (
        f"Left: the image ({attention.split} split, row{'s' * (len(attention.rows) > 1)} {rows}) with its "
        "class. Maps: squares of a block's output averaged over its channels, each map scaled to its own "
        "range, interpolated to the image's size and laid over the image in grey. Above each row of maps: "
        f"the class that {'this' if several else 'the'} network predicts."
        + (" A network with fewer blocks stands below the deepest ones." if shorter else "")
    )


class _Plan:
    """Sizes and places of the parts, in inches from the left and from the top."""

    def __init__(self, attention: Attention) -> None:
        self.attention = attention
        beside = max(1, ACROSS // attention.blocks)
        epochs = attention.epochs
        self.lines = [epochs[i : i + beside] for i in range(0, len(epochs), beside)]
        self.panel = attention.blocks * (CELL + SPACE) - SPACE
        tall, wide = attention.images.shape[1:3]
        self.tall = CELL * tall / wide
        self.row = ANSWER + self.tall
        self.band = len(attention.networks) * self.row + BAND_GAP
        # The image is as tall as two rows of maps, where there are two.
        self.image_tall = self.tall + (self.row if len(attention.networks) > 1 else 0)
        self.image_wide = self.image_tall * wide / tall

    @cached_property
    def width(self) -> float:
        title = inches(self.attention.about, LARGE, "bold") + 2 * MARGIN + SPARE
        return max(self.left(len(self.lines[0])) - PANEL_GAP + MARGIN, title, LEAST_WIDTH)

    @cached_property
    def caption(self) -> list[str]:
        return wrapped(caption(self.attention), SMALL, self.width - 2 * MARGIN - SPARE)

    @cached_property
    def height(self) -> float:
        bands = len(self.attention.rows) * self.band
        below = (1.6 + len(self.caption)) * LINE + MARGIN
        return TITLE + len(self.lines) * (HEADINGS + bands) + below

    def left(self, panel: int) -> float:
        """The left of a panel's first map."""
        return MARGIN + self.image_wide + NAMES + panel * (self.panel + PANEL_GAP)

    def cell(self, panel: int, block: int) -> float:
        """The left of one map."""
        return self.left(panel) + block * (CELL + SPACE)


class _Page:
    """A figure in which places are inches from the left and from the top."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        width, height = figure.get_size_inches()
        # One pair of axes over the whole page: a pair for each map would take ten times as long.
        self.axes = figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Centred on the height y; from x to the right unless ``ha`` says otherwise."""
        self.axes.text(x, y, text, **{"va": "center_baseline", "parse_math": False, **style})

    def picture(self, x: float, y: float, width: float, height: float, colours: NDArray[Any]) -> None:
        """Colours (H, W, 3), 0 to 1, with the upper left corner at (x, y)."""
        place = x, x + width, y + height, y
        self.axes.imshow(colours, aspect="auto", extent=place, interpolation="bilinear")

    def rule(self, x: float, y: float, length: float) -> None:
        self.axes.plot([x, x + length], [y, y], color=FAINT, linewidth=0.8)

    def png(self) -> bytes:
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        colours = rounded(np.asarray(canvas.buffer_rgba())[..., :3])
        out = io.BytesIO()
        # A palette would show: maps are smooth, and 256 colours of all images make steps in them.
        Image.fromarray(colours).save(out, "png", dpi=(DPI, DPI))
        return out.getvalue()


def rounded(colours: NDArray[Any]) -> NDArray[Any]:
    """Bytes (...) as the nearest multiples of STEP; black and white stay what they are."""
    import numpy as np

    nearest = ((np.arange(256) + STEP // 2) // STEP * STEP).astype(np.uint8)
    multiples: NDArray[Any] = nearest[colours]
    return multiples


def _headings(page: _Page, plan: _Plan, epochs: list[int], top: float) -> None:
    for panel, epoch in enumerate(epochs):
        left = plan.left(panel)
        page.text(left, top + 0.09, f"epoch {epoch}", weight="bold", size=SMALL + 1)
        page.rule(left, top + 0.19, plan.panel)
        for block in range(plan.attention.blocks):
            middle = plan.cell(panel, block) + CELL / 2
            page.text(middle, top + 0.31, f"block {block + 1}", ha="center", size=SMALL)


def _band(page: _Page, plan: _Plan, i: int, epochs: list[int], top: float) -> None:
    attention = plan.attention
    label = attention.labels[i]
    name = shortened(label, SMALL, plan.image_wide, "bold")
    page.text(MARGIN, top + ANSWER / 2, name, weight="bold", size=SMALL)
    page.picture(MARGIN, top + ANSWER, plan.image_wide, plan.image_tall, attention.images[i].numpy())
    for row, network in enumerate(attention.networks):
        y = top + row * plan.row
        middle = y + ANSWER + plan.tall / 2
        name = shortened(network, SMALL, plan.row)
        page.text(plan.left(0) - 0.12, middle, name, ha="center", va="center", rotation=90, size=SMALL)
        for panel, epoch in enumerate(epochs):
            look = attention.of(network, epoch)
            if look is None:
                continue
            right = look.predicted[i] == label
            first = attention.blocks - len(look.maps)
            x = plan.cell(panel, first)
            predicted = shortened(look.predicted[i], SMALL, plan.left(panel) + plan.panel - x)
            page.text(x, y + ANSWER / 2, predicted, size=SMALL, color=INK if right else WRONG)
            for block, maps in enumerate(look.maps):
                colours = overlay(attention.images[i], maps[i])
                page.picture(plan.cell(panel, first + block), y + ANSWER, CELL, plan.tall, colours)


def overlay(image: Tensor, values: Tensor) -> NDArray[Any]:
    """A map in colours over the image in grey, (H, W, 3), 0 to 1.

    Args:
        image: (H, W, 3), 0 to 1.
        values: (h, w), not negative.
    """
    from torch.nn.functional import interpolate

    fine = interpolate(to_own_range(values[None])[None], image.shape[:2], mode="bilinear")[0, 0]
    grey = (image * image.new_tensor(GREY)).sum(-1, keepdim=True)
    return _mixed(grey.numpy(), fine.numpy())


def _mixed(grey: Any, values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np
    from matplotlib import colormaps

    colours: NDArray[Any] = np.asarray(colormaps[COLOURS](values))[..., :3]
    mixed: NDArray[Any] = np.clip((1 - OPAQUE) * grey + OPAQUE * colours, 0, 1)
    return mixed


def _colour_bar(page: _Page, y: float) -> None:
    """Over middle grey, as the maps are over the image."""
    import numpy as np

    colours = _mixed(0.5, np.linspace(0, 1, 256)[None])
    x = MARGIN
    page.text(x, y, "lowest", size=SMALL)
    x += inches("lowest", SMALL) + KEY_GAP
    page.picture(x, y - 0.05, BAR, 0.1, colours)
    x += BAR + KEY_GAP
    page.text(x, y, "highest of each map;", size=SMALL)
    x += inches("highest of each map;", SMALL) + KEY_GAP
    page.text(x, y, "a class in this colour is wrong", size=SMALL, color=WRONG)
