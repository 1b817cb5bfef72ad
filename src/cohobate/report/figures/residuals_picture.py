"""The logits of a teacher and its students in a plane: figures 4 to 6 of ResKD (Li et al., 2021).

A panel for each student: the teacher's points in red, the same in every panel, and the student's in blue. The
plane is that of the first two principal components of the teacher's logits
(:func:`cohobate.analysis.residuals.principal_plane`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from .chart import FAINT, INK, PALETTE, our_style
from .lettering import inches, shortened, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

STUDENT, TEACHER = PALETTE[:2]
"""Blue and red, as in the paper."""

# Inches.
PANEL, GAP, LEFT, MARGIN = 2.55, 0.2, 0.75, 0.18
TITLE, HEADING, BELOW, LINE = 0.42, 0.6, 0.55, 0.165
SMALL, LARGE = 8.0, 10.5  # points
SPARE = 0.02
"""Inches left free beside text, for rounding to pixels."""
DPI = 144
ACROSS = 3
"""Panels beside one another, at most; more go below."""
LEAST_WIDTH = 5.6
ROOM = 0.05
"""Of the range of the points, left free around them."""


class Panel(NamedTuple):
    """A student.

    Attributes:
        title: S_1, or the run.
        made_of: the models whose logits are added.
        distance: the mean L2 distance of its logits to the teacher's, over the images shown.
        points: (M, 2), its logits in the plane.
    """

    title: str
    made_of: str
    distance: float
    points: Tensor


class Cloud(NamedTuple):
    """The logits of M images.

    Attributes:
        about: the run, in words.
        images: which, in words: "the 31 images that ...".
        teacher: its name.
        shares: of the variance of the teacher's logits along each component, 0 to 1.
        points: (M, 2), of the teacher.
        panels: of each student.
    """

    about: str
    images: str
    teacher: str
    shares: tuple[float, float]
    points: Tensor
    panels: tuple[Panel, ...]


def draw(cloud: Cloud) -> bytes:
    """The picture as PNG: the same numbers give the same bytes.

    Raises:
        ValueError: no panel, or points of another number than the teacher's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    _check(cloud)
    across = min(ACROSS, len(cloud.panels))
    down = -(-len(cloud.panels) // across)
    title = inches(cloud.about, LARGE, "bold") + 2 * MARGIN + SPARE
    width = max(LEFT + across * (PANEL + GAP) - GAP + MARGIN, LEAST_WIDTH, title)
    caption = wrapped(_caption(cloud), SMALL, width - 2 * MARGIN - SPARE)
    height = TITLE + down * (HEADING + PANEL) + BELOW + (len(caption) + 1.6) * LINE + MARGIN
    low, high = _limits(cloud)
    with our_style(f"residuals {cloud.about}"):
        figure = Figure(figsize=(width, height), dpi=DPI)
        _text(figure, MARGIN, 0.27, cloud.about, size=LARGE, weight="bold")
        for i, panel in enumerate(cloud.panels):
            row, column = divmod(i, across)
            left, top = LEFT + column * (PANEL + GAP), TITLE + row * (HEADING + PANEL)
            _heading(figure, left, top, panel)
            place = left / width, 1 - (top + HEADING + PANEL) / height, PANEL / width, PANEL / height
            axes = figure.add_axes(place, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
            _scatter(axes, cloud.points, panel.points)
            _label(axes, cloud.shares, first=column == 0, last=i + across >= len(cloud.panels))
        top = TITLE + down * (HEADING + PANEL) + BELOW
        _key(figure, top + LINE / 2, cloud.teacher)
        for number, text in enumerate(caption):
            _text(figure, MARGIN, top + (number + 2.1) * LINE, text, size=SMALL)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        out = io.BytesIO()
        image = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")
        image.save(out, "png", dpi=(DPI, DPI))
        return out.getvalue()


def _check(cloud: Cloud) -> None:
    shapes = [tuple(panel.points.shape) for panel in cloud.panels]
    if not shapes or set(shapes) != {tuple(cloud.points.shape)} or cloud.points.shape[1:] != (2,):
        raise ValueError(
            f"a picture shows the same images of the teacher and each student, (M, 2); got "
            f"{tuple(cloud.points.shape)} of the teacher and {shapes} of students"
        )


def _limits(cloud: Cloud) -> tuple[list[float], list[float]]:
    """Of both axes, of one length: a distance is as long in either direction, and in every panel."""
    import torch

    points = torch.cat([cloud.points, *(panel.points for panel in cloud.panels)]).double()
    lowest, highest = points.amin(dim=0), points.amax(dim=0)
    half = (highest - lowest).amax() * (0.5 + ROOM)
    middle = (lowest + highest) / 2
    return (middle - half).tolist(), (middle + half).tolist()


def _scatter(axes: Axes, teacher: Tensor, student: Tensor) -> None:
    import torch

    # One image after the other, teacher and student: neither cloud hides the other.
    mixed = torch.stack([teacher, student], dim=1).flatten(0, 1).numpy()
    size, alpha = (14, 0.75) if len(teacher) <= 200 else (7, 0.55) if len(teacher) <= 1000 else (3, 0.55)
    colours = [TEACHER, STUDENT] * len(teacher)
    axes.scatter(mixed[:, 0], mixed[:, 1], s=size, c=colours, alpha=alpha, linewidths=0)


def _label(axes: Axes, shares: tuple[float, float], *, first: bool, last: bool) -> None:
    """Numbers and names of the axes at the left and at the bottom only: all panels share them."""
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.grid(True, axis="both", color=FAINT)
    axes.tick_params(labelsize=SMALL, labelbottom=last, labelleft=first)
    names = [f"PC {i} ({100 * share:.0f} % of T's variance)" for i, share in enumerate(shares, 1)]
    if last:
        axes.set_xlabel(names[0], size=SMALL)
    if first:
        axes.set_ylabel(names[1], size=SMALL)


def _heading(figure: Figure, left: float, top: float, panel: Panel) -> None:
    """Above a panel, whose room begins at the height ``top``."""
    distance = f"L2 to T {panel.distance:.2f}"
    title = shortened(panel.title, SMALL + 1, PANEL - inches(distance, SMALL) - 0.1, "bold")
    upper, lower = top + HEADING - 0.4, top + HEADING - 0.2
    _text(figure, left, upper, title, size=SMALL + 1, weight="bold")
    _text(figure, left + PANEL, upper, distance, size=SMALL, ha="right")
    _text(figure, left, lower, shortened(panel.made_of, SMALL, PANEL), size=SMALL)


def _key(figure: Figure, y: float, teacher: str) -> None:
    x = MARGIN
    for colour, name in ((TEACHER, f"T, the teacher ({teacher})"), (STUDENT, "the student")):
        _text(figure, x, y, "●", size=SMALL, color=colour)
        x += inches("●", SMALL) + 0.06
        _text(figure, x, y, name, size=SMALL)
        x += inches(name, SMALL) + 0.25


def _caption(cloud: Cloud) -> str:
    return (
        f"Logits of {cloud.images}, projected on the first two principal components of the teacher's logits "
        "of these images. The teacher's points and the axes are the same in every panel. L2 to T: distance "
        "of the logits to the teacher's, mean over these images."
    )


def _text(figure: Figure, x: float, y: float, text: str, **style: object) -> None:
    """At inches from the left and the top, centred on the height y."""
    width, height = figure.get_size_inches()
    given = {"va": "center_baseline", "color": INK, "parse_math": False, **style}
    figure.text(x / width, 1 - y / height, text, **given)  # type: ignore[arg-type]
