"""Finished runs that deploy a sum of networks, S_n = S_0 + R_1 + ... + R_n, beside their teacher.

ResKD (Li et al., 2021) trains such sums, and so do ensembles. Runs that are looked at together have the same
images, the same teacher and the same S_0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..core import Frozen, running_sums
from ..data.dataset import Dataset, Labelled, Split
from ..engine.errors import RunError
from ..recipes.networks import rebuilt
from ..runs.deployed import Deployed, read_deployed
from ..runs.layout import RunFolder
from ..runs.reading import read_run, require_finished
from .feeds import all_logits
from .looking import labelled_of
from .prepare import Prepared
from .rebuild import kept_teacher, prepared_of

ALIKE = 1e-4
"""Largest difference of logits, relative and absolute, of networks that count as the same."""

Say = Callable[[str], None]


class Subject(NamedTuple):
    """A run that deploys a sum of networks.

    Attributes:
        folder: of the run.
        prepared: its images and options.
        deployed: its networks.
        teacher: to which they are compared.
    """

    folder: Path
    prepared: Prepared
    deployed: Deployed
    teacher: Frozen

    def logits(self, network: nn.Module, images: Split) -> Tensor:
        """(N, K), in float32, on the CPU."""
        prepared = self.prepared
        return all_logits(network, images, prepared.dataset, prepared.device, prepared.config.workers)


class Student(NamedTuple):
    """S_i of a run.

    Attributes:
        name: S_0, S_1 ...
        members: models of the networks that are added.
        networks: these networks.
        logits: (N, K), of their sum.
        before: position of S_(i-1) among all students; None: it is S_0.
        energy: its mean energy on D_v as the run recorded it; None: it recorded none.
    """

    name: str
    members: tuple[str, ...]
    networks: tuple[nn.Module, ...]
    logits: Tensor
    before: int | None
    energy: float | None

    @property
    def made_of(self) -> str:
        """resnet20 + resnet14"""
        return " + ".join(self.members)


class Summed(NamedTuple):
    """The students of one run or several, and their teacher.

    Attributes:
        subjects: the runs.
        images: on which the logits are.
        teacher: its name.
        teacher_logits: (N, K).
        students: S_0, then those of each run, none of them twice.
        last: for each run, the position of its S_n among the students.
    """

    subjects: tuple[Subject, ...]
    images: Labelled
    teacher: str
    teacher_logits: Tensor
    students: tuple[Student, ...]
    last: tuple[int, ...]

    @property
    def prepared(self) -> Prepared:
        """That of the first run, whose images and teacher are those of all."""
        return self.subjects[0].prepared


def summed(folders: Sequence[Path], split: Literal["test", "val"], teacher: str | None, say: Say) -> Summed:
    """Load the networks of runs and compute their logits.

    Args:
        folders: of finished runs.
        split: of the data set.
        teacher: as ``--teacher`` of a run; None: the run's own.
        say: prints a note.

    Raises:
        FileNotFoundError: not a run folder.
        ValueError: no run, a run that deploys a single network or has no teacher, no such split, runs of
            other images or with another teacher or S_0.
        RunError: a run has not finished, cannot be built from its name, its teacher is gone, or its logits
            are not finite.
    """
    if not folders:
        raise ValueError("name the folder of a run of reskd, ensemble or trained_together, or of several")
    if twice := [folder for i, folder in enumerate(folders) if folder in folders[:i]]:
        raise ValueError(f"{twice[0]} is named twice")
    deployed = [_deployed(folder, teacher) for folder in folders]
    subjects = tuple(_subject(*each, teacher, say) for each in zip(folders, deployed, strict=True))
    first = subjects[0]
    images = _same_images(subjects, split)
    of_teacher = first.logits(first.teacher, images)
    _check_finite(of_teacher, f"the teacher of {first.folder}")
    students: list[Student] = []
    last = []
    for subject in subjects:
        if subject is not first:
            _check_same(subject, first, "teachers", subject.logits(subject.teacher, images), of_teacher)
        before: int | None = None
        for student in _students(subject, images):
            if students and student.name == "S_0":
                _check_same(subject, first, "S_0", student.logits, students[0].logits)
            before = _placed(student._replace(before=before), students)
        last.append(before or 0)
    return Summed(subjects, images, _name(first), of_teacher, tuple(students), tuple(last))


def _placed(student: Student, students: list[Student]) -> int:
    """The position of a student among others, to which it is added unless it is there already."""
    for place, other in enumerate(students):
        if other.members == student.members and _alike(other.logits, student.logits):
            return place
    students.append(student)
    return len(students) - 1


# ---------------------------------------------------------------- one run


def _deployed(folder: Path, teacher: str | None) -> Deployed:
    """What a run deployed, refused before any image is read."""
    require_finished(folder)
    run = read_run(folder)
    deployed = read_deployed(RunFolder(folder).deployed)
    if len(deployed.members) < 2:
        raise ValueError(
            f"{folder} ({run.name}) deploys a single network, {deployed.model}, so there is no residual to "
            "measure; name a run of reskd, ensemble or trained_together, which deploy a sum of networks"
        )
    if teacher is None and not run.config.get("teacher"):
        raise ValueError(
            f"{folder} ({run.name}) has no teacher to compare its students to; name one with --teacher, the "
            "folder of a run for example"
        )
    return deployed


def _subject(folder: Path, deployed: Deployed, teacher: str | None, say: Say) -> Subject:
    prepared = prepared_of(folder)
    data = prepared.config.data
    if tuple(deployed.classes) != prepared.dataset.classes:
        theirs, ours = (", ".join(names[:5]) for names in (deployed.classes, prepared.dataset.classes))
        raise ValueError(f"the networks of {folder} have the classes {theirs} ..., {data} has now {ours} ...")
    recorded = read_run(folder).provenance.get("data_fingerprint")
    if recorded not in (None, prepared.fingerprint):
        say(f"note: {data} does not hold the images that {folder} was trained on, or no longer")
    if teacher is not None:
        prepared = prepared.having(teacher=(teacher,), teacher_weights=(), teacher_mean="logits")
    mean, std = map(tuple, deployed.statistics)
    prepared = replace(prepared, dataset=replace(prepared.dataset, mean=mean, std=std))
    job = prepared.job(say, lambda spec: kept_teacher(spec, prepared))
    return Subject(folder, prepared, deployed, job.teacher())


def _students(subject: Subject, images: Split) -> list[Student]:
    """S_0, S_1 ... of a run."""
    deployed = subject.deployed
    whole = rebuilt(deployed, len(subject.prepared.dataset.classes))
    networks = tuple(whole.get_submodule("networks").children())
    logits = running_sums([subject.logits(network, images) for network in networks])
    _check_finite(logits[-1], f"the networks of {subject.folder}")
    energies = deployed.found.get("energy", {})
    named = [(f"S_{i}", each) for i, each in enumerate(logits)]
    return [
        Student(name, tuple(deployed.members[:end]), networks[:end], each, None, energies.get(name))
        for end, (name, each) in enumerate(named, 1)
    ]


def _name(subject: Subject) -> str:
    """The teacher as a short text: a model, or the last parts of a run's folder."""
    names = [Path(spec).name if Path(spec).exists() else spec for spec in subject.prepared.config.teacher]
    return " + ".join(names)


def _check_finite(logits: Tensor, whose: str) -> None:
    if not logits.isfinite().all():
        raise RunError(
            f"the logits of {whose} are not finite; train the run again with a lower lr, or with clip"
        )


# ---------------------------------------------------------------- several runs


def _same_images(subjects: Sequence[Subject], split: str) -> Labelled:
    """The images of the split, which all runs must have alike."""
    first = subjects[0]
    every = [
        labelled_of(each.prepared.dataset, split, each.prepared.config, "residuals") for each in subjects
    ]
    for subject, images in zip(subjects[1:], every[1:], strict=True):
        ours, theirs = first.prepared.dataset, subject.prepared.dataset
        if not torch.equal(every[0].y, images.y) or _facts(ours) != _facts(theirs):
            raise ValueError(
                f"{subject.folder} has other {split} images than {first.folder}, so their students cannot "
                "stand in one table; name runs with the same --data and --val-fraction"
            )
    return every[0]


def _facts(dataset: Dataset) -> tuple[object, ...]:
    return dataset.name, dataset.classes, dataset.shape, dataset.mean, dataset.std


def _check_same(subject: Subject, first: Subject, what: str, theirs: Tensor, ours: Tensor) -> None:
    if not _alike(ours, theirs):
        raise ValueError(
            f"{subject.folder} and {first.folder} have different {what}, so their students cannot stand in "
            "one table; name runs with one teacher and one S_0 (the same options and seed up to there), or "
            "each run alone"
        )


def _alike(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.allclose(one, two, rtol=ALIKE, atol=ALIKE)
