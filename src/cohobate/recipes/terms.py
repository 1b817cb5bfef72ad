"""Terms by name, their options, and any sum of them as a recipe: ``kd``, ``at``, ``kd+at+crd``.

The defaults are the settings of the public CIFAR-100 benchmark that SLKD's tables compare with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pydantic import Field

from ..config.objects import nearest
from .job import Job

if TYPE_CHECKING:
    from torch import nn

    from ..core import Output, Plan, Term
    from ..data.dataset import Dataset

Weight = Annotated[float, Field(ge=0, description="Factor of the term.")]
Temperature = Annotated[float, Field(gt=0, description="T, softens both predictions.")]
CEWeight = Annotated[float, Field(ge=0, description="Factor of the cross-entropy.")]
Ramp = Annotated[float, Field(ge=0, le=1, description="Share of the run over which the term rises from 0.")]

RAMP = 20 / 240


@dataclass(frozen=True)
class Between:
    """What a term is built for: two networks, and the data that they see.

    Attributes:
        dataset: its training labels and the size of its images count.
        student, teacher: what the networks return for two of them.
        network: the teacher itself.
    """

    dataset: Dataset
    student: Output
    teacher: Output
    network: nn.Module

    @classmethod
    def of(cls, student: nn.Module, teacher: nn.Module, dataset: Dataset) -> Between:
        """Look at what both return."""
        from ..models.surgery.probe import look

        shape = (3, dataset.image_size, dataset.image_size)
        return cls(dataset, look(student, shape).output, look(teacher, shape).output, teacher)


def kd(between: Between, *, temperature: Temperature = 4.0, weight: Weight = 0.9) -> Term:
    """Softened KL between the logits (Hinton et al., 2015)"""
    from ..methods.kd import KD

    return KD(temperature=temperature, weight=weight)


def standardised_kd(between: Between, *, temperature: Temperature = 2.0, weight: Weight = 9.0) -> Term:
    """Softened KL between standardised logits (Sun et al., 2024)"""
    from ..methods.kd import KD
    from ..methods.logit_standardisation import Standardised

    return Standardised(KD(temperature=temperature, weight=weight))


def dkd(
    between: Between,
    *,
    alpha: Annotated[float, Field(ge=0, description="Factor of the target class's part.")] = 1.0,
    beta: Annotated[float, Field(ge=0, description="Factor of the other classes' part.")] = 8.0,
    temperature: Temperature = 4.0,
    ramp: Ramp = RAMP,
    weight: Weight = 1.0,
) -> Term:
    """Target and other classes decoupled (Zhao et al., 2022)"""
    from ..methods.dkd import DKD

    return DKD(alpha=alpha, beta=beta, temperature=temperature, ramp=ramp, weight=weight)


def dist(
    between: Between,
    *,
    inter: Annotated[float, Field(ge=0, description="beta, of each image's relation between classes.")] = 2.0,
    intra: Annotated[float, Field(ge=0, description="gamma, of each class's relation between images.")] = 2.0,
    temperature: Temperature = 4.0,
    weight: Weight = 1.0,
) -> Term:
    """Correlations between and within classes (Huang et al., 2022)"""
    from ..methods.dist import DIST

    return DIST(inter=inter, intra=intra, temperature=temperature, weight=weight)


def fitnet(
    between: Between,
    *,
    stage: Annotated[
        int | None,
        Field(description="Which of the paired stages is the hint, from 0, or from the end if negative."),
    ] = None,
    weight: Weight = 100.0,
) -> Term:
    """A regressed hint from the middle (Romero et al., 2015)"""
    from ..methods.fitnet import FitNet, hint_pair

    student, teacher = hint_pair(between.student, between.teacher, stage)
    return FitNet(student.shape[1], teacher.shape[1], stage=stage, weight=weight)


def at(between: Between, *, weight: Weight = 1000.0) -> Term:
    """Attention maps of all stages (Zagoruyko and Komodakis, 2017)"""
    from ..methods.at import AT

    return AT(weight=weight)


def sp(between: Between, *, weight: Weight = 3000.0) -> Term:
    """Which images of a batch are alike (Tung and Mori, 2019)"""
    from ..methods.sp import SP

    return SP(weight=weight)


def rkd(
    between: Between,
    *,
    distance_weight: Annotated[float, Field(ge=0, description="Factor of the distances.")] = 25.0,
    angle_weight: Annotated[float, Field(ge=0, description="Factor of the angles.")] = 50.0,
    weight: Weight = 1.0,
) -> Term:
    """Distances and angles between images (Park et al., 2019)"""
    from ..methods.rkd import RKD

    return RKD(distance_weight=distance_weight, angle_weight=angle_weight, weight=weight)


def overhaul(between: Between, *, weight: Weight = 0.001) -> Term:
    """Features before the ReLU, above the teacher's margins (Heo et al., 2019)"""
    from ..methods.matching import channels, preact_pairs
    from ..methods.ofd import OFD, margin
    from ..models.surgery.norms import stage_norms

    student, teacher = channels(preact_pairs(between.student, between.teacher, "overhaul"))
    size = between.dataset.image_size
    norms = stage_norms(between.network, (3, size, size))[-len(teacher) :]
    margins = [margin(norm.weight.detach(), norm.bias.detach()) for norm in norms]
    return OFD(student, teacher, margins, weight=weight)


def crd(
    between: Between,
    *,
    dim: Annotated[int, Field(ge=1, description="Of the common embedding.")] = 128,
    negatives: Annotated[int, Field(ge=1, description="K, images of other classes drawn per image.")] = 16384,
    temperature: Annotated[float, Field(gt=0, description="T of the critic.")] = 0.07,
    memory_momentum: Annotated[float, Field(ge=0, lt=1, description="Share of the old memory kept.")] = 0.5,
    weight: Weight = 0.8,
) -> Term:
    """Contrast with a memory of all images (Tian et al., 2020)"""
    from ..methods.crd import CRD
    from ..methods.matching import pooled_pair

    student, teacher = pooled_pair(between.student, between.teacher, "crd")
    labels = between.dataset.train.y
    return CRD(
        student.shape[1],
        teacher.shape[1],
        labels,
        dim=dim,
        negatives=negatives,
        temperature=temperature,
        memory_momentum=memory_momentum,
        weight=weight,
    )


def reviewkd(
    between: Between,
    *,
    mid_channels: Annotated[
        int | None, Field(ge=1, description="Width of the fusion; by default min(512, deepest).")
    ] = None,
    ramp: Ramp = RAMP,
    weight: Weight = 5.0,
) -> Term:
    """Deep stages reviewed together with shallow ones (Chen et al., 2021)"""
    from ..methods.matching import channels
    from ..methods.reviewkd import ReviewKD, level_pairs

    student, teacher = channels(level_pairs(between.student, between.teacher))
    return ReviewKD(student, teacher, mid_channels=mid_channels, ramp=ramp, weight=weight)


Builder = Callable[..., "Term"]

TERMS: dict[str, Builder] = {
    "kd": kd,
    "standardised_kd": standardised_kd,
    "dkd": dkd,
    "dist": dist,
    "fitnet": fitnet,
    "at": at,
    "sp": sp,
    "rkd": rkd,
    "overhaul": overhaul,
    "crd": crd,
    "reviewkd": reviewkd,
}

SHARES = frozenset({"kd", "standardised_kd"})
"""Terms whose reference setting leaves 0.1 to the cross-entropy; beside all others it counts 1."""


def split(name: str) -> list[str]:
    """The terms of ``kd+at``.

    Raises:
        ValueError: an unknown term (with the nearest), or one that stands twice.
    """
    names = [part.strip() for part in name.split("+")]
    for part in names:
        if part not in TERMS:
            raise ValueError(f"unknown term {part!r} in {name!r}; the nearest are {nearest(part, TERMS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a term stands twice in {name!r}")
    return names


def prefixed(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Option of the recipe -> (term, option of the term): ``at_weight`` where there are several terms."""
    return {
        option if len(names) == 1 else f"{name}_{option}": (name, option)
        for name in names
        for option in inspect.signature(TERMS[name]).parameters
        if option != "between"
    }


def built(between: Between, names: Sequence[str], given: Mapping[str, Any]) -> dict[str, Term]:
    """The terms, each with its own options."""
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for option, (name, term_option) in prefixed(names).items():
        if option in given:
            own[name][term_option] = given[option]
    return {name: TERMS[name](between, **own[name]) for name in names}


def make_terms(
    name: str, student: nn.Module, teacher: nn.Module, dataset: Dataset, **options: Any
) -> dict[str, Term]:
    """The terms of ``kd``, ``at`` or ``kd+at+crd`` between two networks, for :class:`cohobate.Distillation`.

    Args:
        name: of one term, or of several joined by ``+`` (`cohobate list methods`).
        student: returns an Output with what the terms read.
        teacher: the same; a plain network, or Frozen.
        dataset: what the student will learn from, its validation split held out (:func:`cohobate.hold_out`)
            where a term remembers its images (``crd``).
        **options: as on the command line: ``weight=0.5`` of one term, ``at_weight=0.5`` among several.

    Raises:
        ValueError: an unknown term or option (with the nearest), or a network that lacks what a term
            reads.
    """
    from ..core import Frozen

    names = split(name)
    for option in options:
        if option not in prefixed(names):
            near = nearest(option, prefixed(names))
            raise ValueError(f"{name} has no option {option!r}; the nearest are {near}")
    network = teacher.network if isinstance(teacher, Frozen) else teacher
    return built(Between.of(student, network, dataset), names, options)


def distillation(name: str) -> Callable[..., Plan]:
    """The recipe of one term, or of several joined by ``+``.

    Raises:
        ValueError: see :func:`split`.
    """
    names = split(name)

    def recipe(job: Job, *, ce_weight: float, **given: Any) -> Plan:
        from ..core import Phase
        from ..methods.distillation import Distillation

        teacher, student = job.teacher(), job.network()
        between = Between.of(student, teacher.network, job.dataset)
        yield Phase(
            "student", Distillation(student, teacher, built(between, names, given), ce_weight=ce_weight)
        )

    recipe.__doc__ = f"{' + '.join(_described(part) for part in names)}."
    recipe.__signature__ = _signature(names)  # type: ignore[attr-defined]
    recipe.__annotations__ = _hints(names)
    return recipe


def _described(name: str) -> str:
    return inspect.cleandoc(TERMS[name].__doc__ or name)


def _hints(names: Sequence[str]) -> dict[str, Any]:
    hints = {name: get_type_hints(TERMS[name], localns={"Term": Any}, include_extras=True) for name in names}
    own = {option: hints[name][inner] for option, (name, inner) in prefixed(names).items()}
    return {**own, "ce_weight": CEWeight}


def _signature(names: Sequence[str]) -> inspect.Signature:
    keyword = inspect.Parameter.KEYWORD_ONLY
    signatures = {name: inspect.signature(TERMS[name]).parameters for name in names}
    options = [
        inspect.Parameter(option, keyword, default=signatures[name][inner].default)
        for option, (name, inner) in prefixed(names).items()
    ]
    share = 0.1 if SHARES & set(names) else 1.0
    job = inspect.Parameter("job", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Signature([job, *options, inspect.Parameter("ce_weight", keyword, default=share)])
