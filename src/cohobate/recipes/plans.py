"""Methods of several phases: stages, chains of teachers, and teachers that learn beside the student."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen
from torch import nn
from typing_extensions import Doc

from ..config.declared import PassedOn
from ..core import Frozen, Method, Phase, Plan
from ..core.options import own
from ..methods.dgkd import DGKD
from ..methods.distillation import Distillation
from ..methods.fitnet import FitNet, HintTraining
from ..methods.kd import KD
from ..methods.slkd import SLKD
from ..methods.slkd_sequential import Guided, SelfLearning, SLKDInTurns
from .job import Job
from .teachers import untrained
from .terms import Pair

Assistants = Annotated[
    tuple[str, ...], MinLen(1), Doc("Models between teacher and student in size, from large to small.")
]
KDOptions = Annotated[Any, PassedOn("methods.kd:KD", "methods.distillation:Distillation")]


def _distilled(student: nn.Module, teacher: Frozen, *, ce_weight: float, **options: Any) -> Method:
    return Distillation(student, teacher, {"kd": KD(**options)}, ce_weight=ce_weight)


def fitnet_stages(
    job: Job,
    *,
    hint_share: Annotated[
        float,
        Gt(0),
        Lt(1),
        Doc("Share of the epochs that the first phase takes, which trains by the hint alone."),
    ] = 1 / 6,
    hint_weight: Annotated[float, Ge(0), Doc("Factor of the hint loss in the first phase.")] = 1.0,
    **options: KDOptions,
) -> Plan:
    """A hint trains the student up to its middle stage, then KD trains all of it (Romero et al., 2015)."""
    teacher, student = job.teacher(), job.network()
    pair = Pair.of(student, teacher.network, job.dataset, job.training.taps, job.say)
    epochs = job.training.epochs
    if epochs < 2:
        raise ValueError("fitnet_stages trains in two stages and needs at least 2 epochs, got 1")
    first = min(max(1, round(hint_share * epochs)), epochs - 1)
    hint = FitNet.between(pair, weight=hint_weight)
    yield Phase("hint", HintTraining(student, teacher, hint), {"epochs": first})
    yield Phase("student", _distilled(student, teacher, **options), {"epochs": epochs - first})


def takd(job: Job, *, assistants: Assistants, **options: KDOptions) -> Plan:
    """Teacher, assistants, student: each taught by the one before it (Mirzadeh et al., 2020)."""
    teacher = job.teacher()
    for number, name in enumerate(assistants, 1):
        assistant = job.build(name)
        yield Phase(f"assistant-{number}", _distilled(assistant, teacher, **options))
        teacher = Frozen(assistant)
    yield Phase("student", _distilled(job.network(), teacher, **options))


def dgkd(
    job: Job, *, assistants: Assistants, **options: Annotated[Any, PassedOn("methods.dgkd:DGKD")]
) -> Plan:
    """Teacher, assistants, student: each taught by all of those before it (Son et al., 2021)."""
    guides = [job.teacher()]
    for number, name in enumerate(assistants, 1):
        assistant = job.build(name)
        yield Phase(f"assistant-{number}", DGKD(assistant, guides, **options))
        guides.append(Frozen(assistant))
    yield Phase("student", DGKD(job.network(), guides, **options))


def born_again(
    job: Job,
    *,
    generations: Annotated[
        int, Ge(1), Doc("Number of students trained in sequence, each taught by the one before it.")
    ] = 3,
    **options: Annotated[
        Any,
        PassedOn(
            "methods.kd:KD",
            "methods.distillation:Distillation",
            defaults={"temperature": 1.0, "weight": 1.0, "ce_weight": 1.0},
        ),
    ],
) -> Plan:
    """Equal networks, each taught by its predecessor (Furlanello et al., 2018)."""
    teacher = job.teacher()
    for generation in range(1, generations + 1):
        network = job.network()
        yield Phase(f"generation-{generation}", _distilled(network, teacher, **options))
        teacher = Frozen(network)


def slkd(
    job: Job,
    *,
    sl_teachers: Annotated[int, Ge(1), Doc("Number of SL-teachers, untrained copies of the teacher.")] = 2,
    form: Annotated[
        Literal["parallel", "sequential", "per_step"],
        Doc(
            "When the SL-teachers are updated: parallel, with the student; sequential, in a phase before the "
            "student (tables 5, 6); per_step, before the student in each step."
        ),
    ] = "parallel",
    sl_lr: Annotated[
        float | None,
        Gt(0),
        Doc("Learning rate of the SL-teachers; by default that of the teacher, --teacher-lr, else --lr."),
    ] = None,
    **options: Annotated[Any, PassedOn("methods.slkd:SLKD")],
) -> Plan:
    """Untrained copies of the teacher learn beside the student and guide it (Liu et al., 2023)."""
    teacher, student = job.teacher(), job.network()
    learners = untrained(job, sl_teachers)
    rate = sl_lr or job.training.teacher_lr
    rates = {} if rate is None else {"groups": {"sl_teachers": {"lr": rate}}}
    if form == "sequential":
        yield Phase("sl_teachers", SelfLearning(teacher, learners, **own(SelfLearning, options)), rates)
        yield Phase("student", Guided(student, teacher, learners, **own(Guided, options)))
        return
    method = SLKD(student, teacher, learners, **options)
    yield Phase("train", method if form == "parallel" else SLKDInTurns(method), rates)
