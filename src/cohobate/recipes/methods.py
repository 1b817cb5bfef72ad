"""Methods by name. A recipe's signature is its command line; its body is the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from .job import Job
from .terms import Between, CEWeight, Temperature, Weight, fitnet

if TYPE_CHECKING:
    from ..core import Plan

Survival = Annotated[
    float,
    Field(gt=0, le=1, description="p_L, survival probability of the last block; linear from 1 to it."),
]

Assistants = Annotated[
    tuple[str, ...], Field(min_length=1, description="Models between teacher and student, large to small.")
]


def baseline(job: Job) -> Plan:
    """Cross-entropy alone: what every gain is measured against."""
    from ..core import Phase
    from ..methods.supervised import Supervised

    yield Phase("train", Supervised(job.network()))


def stochastic_depth(job: Job, *, survival: Survival = 0.5) -> Plan:
    """A random sub-network learns in each step (Huang et al., 2016); the full one is deployed."""
    from ..core import Phase
    from ..methods.stochastic_depth import StochasticDepth

    yield Phase("train", StochasticDepth(job.network(), survival=survival))


def self_guidance(
    job: Job,
    *,
    survival: Survival = 0.5,
    weight: Annotated[float, Field(ge=0, description="lambda of eq. 5, weight of the KL term.")] = 0.25,
    temperature: Annotated[float, Field(gt=0, description="tau, softens both predictions.")] = 3.0,
    detach: Annotated[bool, Field(description="The teacher is a constant in the KL term.")] = True,
    backward_full: Annotated[
        bool, Field(description="The full network learns from its own cross-entropy (table 6).")
    ] = True,
    statistics: Annotated[
        Literal["full", "both"], Field(description="Passes that move the batch-norm statistics.")
    ] = "full",
) -> Plan:
    """The full network teaches random sub-networks of itself (Zheng and Peng, 2022)."""
    from ..core import Phase
    from ..methods.self_guidance import SelfGuidance

    method = SelfGuidance(
        job.network(),
        survival=survival,
        weight=weight,
        temperature=temperature,
        detach=detach,
        backward_full=backward_full,
        statistics=statistics,
    )
    yield Phase("train", method)


def fitnet_stages(
    job: Job,
    *,
    hint_share: Annotated[
        float, Field(gt=0, lt=1, description="Share of the epochs that the first stage, the hint, takes.")
    ] = 1 / 6,
    hint_weight: Weight = 1.0,
    temperature: Temperature = 4.0,
    weight: Weight = 0.9,
    ce_weight: CEWeight = 0.1,
) -> Plan:
    """The hint alone up to the middle, then KD (Romero et al., 2015, two stages)."""
    from ..core import Phase
    from ..methods.distillation import Distillation
    from ..methods.fitnet import HintTraining
    from ..methods.kd import KD

    teacher, student = job.teacher(), job.network()
    between = Between.of(student, teacher.network, job.dataset)
    epochs = job.training.epochs
    if epochs < 2:
        raise ValueError("fitnet_stages trains in two stages and needs at least 2 epochs, got 1")
    first = min(max(1, round(hint_share * epochs)), epochs - 1)
    yield Phase(
        "hint", HintTraining(student, teacher, fitnet(between, weight=hint_weight)), {"epochs": first}
    )
    method = Distillation(
        student, teacher, {"kd": KD(temperature=temperature, weight=weight)}, ce_weight=ce_weight
    )
    yield Phase("student", method, {"epochs": epochs - first})


def takd(
    job: Job,
    *,
    assistants: Assistants,
    temperature: Temperature = 4.0,
    weight: Weight = 0.9,
    ce_weight: CEWeight = 0.1,
) -> Plan:
    """Teacher, assistants, student: each taught by the one before it (Mirzadeh et al., 2020)."""
    from ..core import Frozen, Phase
    from ..methods.distillation import Distillation
    from ..methods.kd import KD

    teacher = job.teacher()
    for number, name in enumerate(assistants, 1):
        assistant = job.build(name)
        terms = {"kd": KD(temperature=temperature, weight=weight)}
        yield Phase(f"assistant-{number}", Distillation(assistant, teacher, terms, ce_weight=ce_weight))
        teacher = Frozen(assistant)
    student = job.network()
    yield Phase(
        "student",
        Distillation(
            student, teacher, {"kd": KD(temperature=temperature, weight=weight)}, ce_weight=ce_weight
        ),
    )


def dgkd(
    job: Job,
    *,
    assistants: Assistants,
    temperature: Temperature = 4.0,
    weight: Annotated[float, Field(ge=0, le=1, description="lambda, share of the guidance.")] = 0.9,
    drop: Annotated[float, Field(ge=0, lt=1, description="Chance that a guide is silent in a batch.")] = 0.0,
) -> Plan:
    """As takd, each guided by all of those before it (Son et al., 2021)."""
    from ..core import Frozen, Phase
    from ..methods.dgkd import DGKD

    guides = [job.teacher()]
    for number, name in enumerate(assistants, 1):
        assistant = job.build(name)
        yield Phase(
            f"assistant-{number}", DGKD(assistant, guides, temperature=temperature, weight=weight, drop=drop)
        )
        guides.append(Frozen(assistant))
    yield Phase("student", DGKD(job.network(), guides, temperature=temperature, weight=weight, drop=drop))


def born_again(
    job: Job,
    *,
    generations: Annotated[int, Field(ge=1, description="Students in a row, each taught by the last.")] = 3,
    temperature: Temperature = 1.0,
    weight: Weight = 1.0,
    ce_weight: CEWeight = 1.0,
) -> Plan:
    """Equal networks, each taught by its predecessor (Furlanello et al., 2018)."""
    from ..core import Frozen, Phase
    from ..methods.distillation import Distillation
    from ..methods.kd import KD

    teacher = job.teacher()
    for generation in range(1, generations + 1):
        network = job.network()
        method = Distillation(
            network, teacher, {"kd": KD(temperature=temperature, weight=weight)}, ce_weight=ce_weight
        )
        yield Phase(f"generation-{generation}", method)
        teacher = Frozen(network)


def slkd(
    job: Job,
    *,
    sl_teachers: Annotated[int, Field(ge=1, description="Untrained copies of the teacher.")] = 2,
    alpha: Annotated[float, Field(ge=0, le=1, description="Share of the cross-entropy, eqs. 1 to 5.")] = 0.1,
    rho: Annotated[
        float | None,
        Field(ge=0, le=1, description="Weight of the first of two SL-teachers, eq. 6; none: equal."),
    ] = None,
    teacher_weight: Annotated[
        float, Field(ge=0, description="lambda of eq. 7; 0: SL-teachers only (table 4).")
    ] = 1.0,
    sl_weight: Annotated[float, Field(ge=0, description="eta of eq. 7.")] = 3.0,
    temperature: Temperature = 4.0,
    fuse: Annotated[Literal["logits", "probabilities"], Field(description="What eq. 6 averages.")] = "logits",
    form: Annotated[
        Literal["parallel", "sequential", "per_step"],
        Field(description="sequential: SL-teachers first (tables 5, 6); per_step: first in each step."),
    ] = "parallel",
    sl_lr: Annotated[
        float | None, Field(gt=0, description="Rate of the SL-teachers; by default the student's.")
    ] = None,
) -> Plan:
    """Untrained copies of the teacher learn beside the student, who follows them (Liu et al., 2023)."""
    from ..core import Phase
    from ..methods.slkd import SLKD
    from ..methods.slkd_sequential import Guided, SelfLearning, SLKDInTurns
    from .teachers import untrained

    teacher, student = job.teacher(), job.network()
    learners = untrained(job, sl_teachers)
    rates = {} if sl_lr is None else {"groups": {"sl_teachers": {"lr": sl_lr}}}
    common: dict[str, Any] = {"alpha": alpha, "temperature": temperature, "rho": rho, "fuse": fuse}
    weights: dict[str, Any] = {"teacher_weight": teacher_weight, "sl_weight": sl_weight}
    if form == "sequential":
        yield Phase("sl_teachers", SelfLearning(teacher, learners, **common), rates)
        yield Phase("student", Guided(student, teacher, learners, **common, **weights))
        return
    method = SLKD(student, teacher, learners, **common, **weights)
    yield Phase("train", method if form == "parallel" else SLKDInTurns(method), rates)
