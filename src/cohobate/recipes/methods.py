"""Methods by name. A recipe's signature is its command line; its body is the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .job import Job

if TYPE_CHECKING:
    from ..core import Plan

Survival = Annotated[
    float,
    Field(gt=0, le=1, description="p_L, survival probability of the last block; linear from 1 to it."),
]


def baseline(job: Job) -> Plan:
    """Cross-entropy alone: what every gain is measured against."""
    from ..core import Phase
    from ..methods.supervised import Supervised

    yield Phase("train", Supervised(job.network()))


def kd(
    job: Job,
    *,
    temperature: Annotated[float, Field(gt=0, description="T, softens both predictions.")] = 4.0,
    weight: Annotated[float, Field(ge=0, description="Factor of T^2 KL(teacher || student).")] = 0.9,
    ce_weight: Annotated[float, Field(ge=0, description="Factor of the cross-entropy.")] = 0.1,
) -> Plan:
    """Softened-KL distillation from a frozen teacher (Hinton et al., 2015); needs --teacher."""
    from ..core import Phase
    from ..methods.distillation import Distillation
    from ..methods.kd import KD

    teacher = yield from job.teacher()
    yield Phase("student", Distillation(job.network(), teacher, {"kd": KD(weight, temperature)}, ce_weight))


def stochastic_depth(job: Job, *, survival: Survival = 0.5) -> Plan:
    """A random sub-network learns in each step (Huang et al., 2016); the full one is deployed."""
    from ..core import Phase
    from ..methods.stochastic_depth import StochasticDepth

    yield Phase("train", StochasticDepth(job.network(), survival))


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

    method = SelfGuidance(job.network(), survival, weight, temperature, detach, backward_full, statistics)
    yield Phase("train", method)
