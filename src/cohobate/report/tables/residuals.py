"""How far students are from their teacher, in numbers: ResKD's table 8 (Li et al., 2021), and beyond it.

The picture beside it: :mod:`cohobate.report.figures.residuals_picture`. What is measured:
:mod:`cohobate.analysis.residuals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...config.words import count
from .text import NOTHING, csv_text, millions_of

if TYPE_CHECKING:
    from rich.table import Table

NAMED, ALL = "named", "all"
"""The images that table 8 names, and all of the split."""


@dataclass(frozen=True)
class ImageSet:
    """Images over which the measures are averaged.

    Attributes:
        name: ``named`` or ``all``.
        count: how many there are.
        gi_count: over how many of them, evenly spaced, the gap of informativeness is averaged; 0: left out.
    """

    name: str
    count: int
    gi_count: int

    def described(self, split: str) -> str:
        """All 360 images of the test split; the 31 images of the test split that ..."""
        images = f"{count(self.count, 'image')} of the {split} split"
        if self.name == ALL:
            return f"all {images}"
        return f"the {images} that S_0 gets wrong and a later S_i right"


@dataclass(frozen=True)
class Gap:
    """A network on one set of images; None: not measured, or not defined.

    Attributes:
        right: share of the images that it predicts rightly, percent.
        energy: its mean energy (eq. 9), 0 to 1.
        l2_logits: mean L2 distance of its logits to the teacher's, which is GI_hat / C_1.
        l2_probabilities: the same of probabilities.
        gi: mean gap of informativeness by its definition (eq. 12), by all parameters of S_i.
        gi_last: the same by the parameters of its last network alone.
        k: the share of the distance of the stage before that is gone (eq. 25).
    """

    right: float | None = None
    energy: float | None = None
    l2_logits: float | None = None
    l2_probabilities: float | None = None
    gi: float | None = None
    gi_last: float | None = None
    k: float | None = None


@dataclass(frozen=True)
class Line:
    """A network, with a gap for each set of images.

    Attributes:
        network: T, S_0, S_1 ...
        made_of: its model, or those whose logits are added.
        parameters: of all of them.
        macs: multiply-accumulates of an image, of all of them.
        energy_found: the mean energy on D_v that the run recorded; None: it recorded none.
        gaps: on each set of images, in the order of :attr:`Residuals.sets`.
    """

    network: str
    made_of: str
    parameters: int
    macs: int
    energy_found: float | None
    gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class Residuals:
    """The students of one run, or of several with the same S_0, beside their teacher.

    Attributes:
        about: the run, in words.
        split: from which the images are.
        sets: those that table 8 names, then all.
        lines: the teacher, then S_0, S_1 ...
        d_v: the images D_v, in words; empty: the run recorded none.
    """

    about: str
    split: str
    sets: tuple[ImageSet, ...]
    lines: tuple[Line, ...]
    d_v: str = ""

    def rows(self) -> list[tuple[ImageSet, Line, Gap]]:
        """Set by set, network by network."""
        return [(s, line, line.gaps[i]) for i, s in enumerate(self.sets) for line in self.lines]


def to_csv(residuals: Residuals) -> str:
    """A line for each set of images and network; a cell is empty where there is no number."""
    rows = [
        {
            "images": images.name,
            "split": residuals.split,
            "count": images.count,
            "network": line.network,
            "made_of": line.made_of,
            "top1_accuracy_percent": _text(line.gaps[-1].right, 4),
            "top1_error_percent": _text(_error(line), 4),
            "parameters": line.parameters,
            "macs": line.macs,
            "energy_d_v": _text(line.energy_found, 6),
            "energy_split": _text(line.gaps[-1].energy, 6),
            "right_percent": _text(gap.right, 4),
            "energy": _text(gap.energy, 6),
            "l2_logits": _text(gap.l2_logits, 6),
            "l2_probabilities": _text(gap.l2_probabilities, 6),
            "gi": _text(gap.gi, 6),
            "gi_last": _text(gap.gi_last, 6),
            "gi_images": images.gi_count if gap.gi is not None else "",
            "gi_over_c1": _text(gap.l2_logits, 6),
            "k": _text(gap.k, 6),
        }
        for images, line, gap in residuals.rows()
    ]
    return csv_text(rows)


def _error(line: Line) -> float | None:
    right = line.gaps[-1].right
    return None if right is None else 100 - right


def _text(value: float | None, digits: int, missing: str = "") -> str:
    return missing if value is None else f"{value:.{digits}f}"


# ---------------------------------------------------------------- terminal


def to_rich(residuals: Residuals) -> list[Table]:
    """The networks, then a table for each set of images that holds one or more."""
    networks = _table(
        f"{residuals.about}, {residuals.split} split",
        ("network", "logits of", "top-1 %", "error %", "parameters", "MACs", "energy D_v", "energy"),
        [
            (
                line.network,
                line.made_of,
                _text(line.gaps[-1].right, 2, NOTHING),
                _text(_error(line), 2, NOTHING),
                f"{line.parameters:,}",
                millions_of(line.macs, 1),
                _text(line.energy_found, 4, NOTHING),
                _text(line.gaps[-1].energy, 4, NOTHING),
            )
            for line in residuals.lines
        ],
    )
    return [networks, *(_gaps(residuals, i) for i, images in enumerate(residuals.sets) if images.count)]


def _gaps(residuals: Residuals, number: int) -> Table:
    """What is measured on one set of images; without the gap of informativeness where that was left out."""
    images = residuals.sets[number]
    # The sums stand in the table above; of several runs, S_1 may be more than one network.
    several = len({line.network for line in residuals.lines}) < len(residuals.lines)
    names = ["network", *(["logits of"] if several else []), "right %", "energy"]
    names += ["L2 to T = GI/C_1", "L2 of prob.", *(["GI", "GI of R_i"] if images.gi_count else []), "k_i"]
    rows = []
    for line in residuals.lines:
        gap = line.gaps[number]
        distances = [gap.l2_logits, gap.l2_probabilities]
        distances += [gap.gi, gap.gi_last] if images.gi_count else []
        shown = [_text(value, 3, NOTHING) for value in (*distances, gap.k)]
        shown = [_text(gap.right, 2, NOTHING), _text(gap.energy, 4, NOTHING), *shown]
        rows.append((line.network, *([line.made_of] if several else []), *shown))
    return _table(f"Mean over {images.described(residuals.split)}", names, rows)


TEXTS = ("network", "logits of")


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    look: Any = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(title=Text(title), title_justify="left", **look)
    for i, name in enumerate(columns):
        # Headings and sums may be broken at spaces, numbers never.
        cells = [part for row in rows for part in (row[i].split() if name in TEXTS else [row[i]])]
        least = max(map(len, [*name.split(), *cells]))
        table.add_column(name, justify="left" if name in TEXTS else "right", min_width=least)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def definition(residuals: Residuals) -> str:
    """What the numbers of :func:`to_rich` are, a line each."""
    named, every = residuals.sets
    said = [
        "L2 to T: distance of the logits to the teacher's, which is GI/C_1, the bound of the gap of "
        "informativeness (eq. 21); L2 of prob.: the same of probabilities.",
        "k_i: the share of the distance of S_(i-1) that R_i takes away (eq. 25).",
        f"Energy: mean sum of squared probabilities (eq. 9){'; D_v: ' * bool(residuals.d_v)}{residuals.d_v}.",
    ]
    if counts := [f"{images.gi_count:,}" for images in (named, every) if images.gi_count]:
        said.append(
            "GI: norm of the gradient of the squared L2 distance by all parameters of S_i (eq. 12), and by "
            f"those of R_i alone; mean over {' and '.join(counts)} images, evenly spaced."
        )
    if not named.count:
        said.append(
            "Table 8 averages over images that S_0 gets wrong and a later S_i right; of the "
            f"{residuals.split} split there is none."
        )
    return "\n".join(said)
