"""How far the students of finished runs are from their teacher: ResKD's table 8 and figures 4 to 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..analysis.cost import cost
from ..analysis.residuals import (
    gradient_norms,
    l2_to_teacher,
    principal_plane,
    projected,
    relative_decrease,
    table8_rows,
    together,
)
from ..config.words import count
from ..core import Sum, mean_energy
from ..data.raw import spread
from ..engine.checkpoint import write_bytes
from ..report.figures.residuals_picture import Cloud, Panel, draw
from ..report.tables.residuals import ALL, NAMED, Gap, ImageSet, Line, Residuals, to_csv
from ..runs.names import data_words
from .feeds import split_loader
from .looking import check_picture
from .summed import Say, Summed, summed

GI_IMAGES = 500
"""Images, evenly spaced, over which the gap of informativeness is averaged by default."""
FEWEST = 3
"""Images that the plane of a picture needs."""


def gaps_of_runs(
    folders: Sequence[Path],
    *,
    split: Literal["test", "val"] = "test",
    images: Literal["named", "all"] = "named",
    gi_images: int = GI_IMAGES,
    teacher: str | None = None,
    say: Say = lambda message: None,
) -> tuple[Residuals, Cloud]:
    """The distances of the students of one run, or of several with the same S_0, to their teacher.

    All networks run in float32, whatever the precision of the run.

    Args:
        folders: of finished runs that deploy a sum of networks.
        split: of the data set.
        images: those of the picture: the images that table 8 names, or all.
        gi_images: over how many images of each set the gap of informativeness is averaged; 0: left out.
        teacher: as ``--teacher`` of a run; by default the run's own.
        say: prints a note.

    Returns:
        The numbers; and what the picture shows: of one run every S_i, of several the last one of each.

    Raises:
        FileNotFoundError, RunError: see :func:`cohobate.commands.summed.summed`.
        ValueError: the same; or a negative number of images.
    """
    if gi_images < 0:
        raise ValueError(f"gi_images is a number of images, 0 to leave the measure out; got {gi_images}")
    found = summed(folders, split, teacher, say)
    y = found.images.y
    named = table8_rows(torch.stack([student.logits for student in found.students]), y)
    rows = {NAMED: named, ALL: torch.arange(len(y))}
    measured = {name: evenly(each, gi_images) for name, each in rows.items()}
    informative = _informative(found, torch.cat(list(measured.values())), say)
    gaps = {
        name: _gaps(found, each, informative[..., measured[name]] if len(measured[name]) else None)
        for name, each in rows.items()
    }
    energy = found.subjects[0].deployed.found.get("energy", {}).get("T") if teacher is None else None
    size = _size([found.subjects[0].teacher.network], found)
    lines = [Line("T", found.teacher, *size, energy, tuple(gaps[name][0] for name in rows))]
    for number, student in enumerate(found.students, 1):
        of_sets = tuple(gaps[name][number] for name in rows)
        size = _size(student.networks, found)
        lines.append(Line(student.name, student.made_of, *size, student.energy, of_sets))
    sets = tuple(ImageSet(name, len(each), len(measured[name])) for name, each in rows.items())
    residuals = Residuals(_about(found), split, sets, tuple(lines), _d_v(found))
    return residuals, _cloud(found, residuals, rows, images, say)


def write_gaps(residuals: Residuals, cloud: Cloud, picture: Path) -> list[Path]:
    """The picture, and its numbers beside it as ``.csv``; each file is written whole or not at all.

    Raises:
        ValueError: the picture's name does not end in .png.
    """
    check_picture(picture)
    files = {picture: draw(cloud), picture.with_suffix(".csv"): to_csv(residuals).encode()}
    for path, data in files.items():
        write_bytes(path, data)
    return list(files)


def evenly(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows, evenly spaced, the first and the last among them."""
    return rows[torch.tensor(spread(len(rows), most), dtype=torch.int64)]


# ---------------------------------------------------------------- measures


def _gaps(found: Summed, rows: Tensor, informative: Tensor | None) -> list[Gap]:
    """The teacher's, then each student's, on some of the images; nothing where there is none.

    Args:
        found: the students.
        rows: positions of the images.
        informative: gaps of informativeness, (2, students, images measured); None: left out.
    """
    if not len(rows):
        return [Gap()] * (1 + len(found.students))
    teacher, y = found.teacher_logits[rows], found.images.y[rows]
    logits = [student.logits[rows] for student in found.students]
    bounds = [_mean(l2_to_teacher(each, teacher)) for each in logits]
    gaps = [Gap(_right(teacher, y), mean_energy(teacher))]
    for i, student in enumerate(found.students):
        k = None
        if student.before is not None:
            k = float(relative_decrease(torch.tensor([bounds[student.before], bounds[i]]).double()))
        gaps.append(
            Gap(
                _right(logits[i], y),
                mean_energy(logits[i]),
                bounds[i],
                _mean(l2_to_teacher(logits[i], teacher, of="probabilities")),
                None if informative is None else _mean(informative[0, i]),
                None if informative is None else _mean(informative[1, i]),
                k,
            )
        )
    return gaps


def _informative(found: Summed, rows: Tensor, say: Say) -> Tensor:
    """Gaps of informativeness, (2, students, N): by all parameters, by R_i's; NaN but for these rows."""
    values = torch.full((2, len(found.students), len(found.images)), torch.nan)
    if not len(rows):
        return values
    rows, prepared = rows.unique(), found.prepared
    device, teacher = prepared.device, found.subjects[0].teacher.to(prepared.device)
    once = cache(say)  # the same note for each batch
    loader = split_loader(found.images.subset(rows), prepared.dataset, device, prepared.config.workers)
    for number, student in enumerate(found.students):
        network, last = Sum(student.networks).to(device), f"networks.{len(student.networks) - 1}."
        each = []
        for batch in loader.epoch(0):
            norms = gradient_norms(network, batch.x, teacher(batch.x).logits, say=once)
            of_last = [value for name, value in norms.items() if name.startswith(last)]
            each.append(torch.stack([together(norms.values()), together(of_last)]))
        values[:, number, rows] = torch.cat(each, dim=1).cpu()
    return values


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _right(logits: Tensor, y: Tensor) -> float:
    """Percent."""
    return 100 * _mean(logits.argmax(dim=1) == y)


def _size(networks: Sequence[nn.Module], found: Summed) -> tuple[int, int]:
    """Parameters and multiply-accumulates of networks together."""
    each = [cost(network, found.prepared.dataset.shape) for network in networks]
    return sum(c.parameters for c in each), sum(c.macs for c in each)


# ---------------------------------------------------------------- in words


def _about(found: Summed) -> str:
    config = found.prepared.config
    data = data_words(Path(config.data).name, config.image_size)
    if len(found.subjects) > 1:
        return f"{count(len(found.subjects), 'run')} on {data}, S_0 {found.students[0].made_of}"
    return f"{found.prepared.label} on {data}, {config.model}, seed {config.seed}"


def _d_v(found: Summed) -> str:
    """D_v of the first run; empty where it recorded none."""
    facts = found.subjects[0].deployed.found
    if "energy_images" not in facts:
        return ""
    return f"{count(facts['energy_images'], 'image')} of the {facts['energy_split']} split"


def _cloud(
    found: Summed, residuals: Residuals, rows: Mapping[str, Tensor], images: Literal["named", "all"], say: Say
) -> Cloud:
    name = NAMED if images == "named" else ALL
    if len(rows[name]) < FEWEST <= len(rows[ALL]):
        say(
            f"note: table 8 names images that S_0 gets wrong and a later S_i right; of the {residuals.split} "
            f"split that is {len(rows[name])}, too few for a picture, so it shows all images"
        )
        name = ALL
    shown = rows[name]
    number = list(rows).index(name)
    plane = principal_plane(found.teacher_logits[shown])
    students = found.students if len(found.subjects) == 1 else [found.students[i] for i in found.last]
    panels = []
    for student in students:
        distance = _mean(l2_to_teacher(student.logits[shown], found.teacher_logits[shown]))
        points = projected(student.logits[shown], plane)
        panels.append(Panel(student.name, student.made_of, distance, points))
    one, two = plane.shares.tolist()
    return Cloud(
        residuals.about,
        residuals.sets[number].described(residuals.split),
        found.teacher,
        (one, two),
        projected(found.teacher_logits[shown], plane),
        tuple(panels),
    )
