"""Networks that teach themselves, by name: nothing else is given or kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .job import Job
from .peers import dry
from .terms import Temperature

if TYPE_CHECKING:
    from ..core import Plan


def ddgsd(
    job: Job,
    *,
    weight: Annotated[
        float, Field(ge=0, description="lambda, of the KL terms between the two versions of an image.")
    ] = 1.0,
    temperature: Temperature = 3.0,
    mmd_weight: Annotated[
        float,
        Field(
            ge=0,
            description="mu, of the distance between the versions' mean features (the paper: 1e-4 to 5e-4); "
            "0: none, for networks that do not show what the classifier sees.",
        ),
    ] = 5e-4,
    ce_weight: Annotated[
        float, Field(ge=0, description="Factor of each version's cross-entropy; 0.5: their mean.")
    ] = 1.0,
    detach: Annotated[
        bool, Field(description="The version that teaches is a constant; off: both move in both KL terms.")
    ] = True,
    average: Annotated[
        Literal["images", "all"],
        Field(description="Features are averaged over the images; all: over images and features (a port)."),
    ] = "images",
) -> Plan:
    """Two augmentations of an image predict alike (Xu and Liu, 2019)."""
    from ..core import Phase
    from ..methods.ddgsd import DDGSD, features

    network = job.network()
    if mmd_weight:
        features(dry(job, network))
    yield Phase(
        "train",
        DDGSD(
            network,
            weight=weight,
            temperature=temperature,
            mmd_weight=mmd_weight,
            ce_weight=ce_weight,
            detach=detach,
            average=average,
        ),
    )


def cs_kd(
    job: Job,
    *,
    weight: Annotated[
        float,
        Field(ge=0, description="lambda, of the KL term between two images of a class; 3 if fine-grained."),
    ] = 1.0,
    temperature: Temperature = 4.0,
    statistics: Annotated[
        Literal["both", "first"],
        Field(description="What moves the batch-norm statistics: both images of a pair, or the first."),
    ] = "both",
) -> Plan:
    """The prediction for another image of the class is the soft label (Yun et al., 2020)."""
    from ..core import Phase
    from ..methods.cs_kd import CSKD

    yield Phase("train", CSKD(job.network(), weight=weight, temperature=temperature, statistics=statistics))


def sad(
    job: Job,
    *,
    weight: Annotated[
        float, Field(ge=0, description="gamma, of the maps' squared difference; beside `pool sum` take 0.1.")
    ] = 1000.0,
    start: Annotated[
        float,
        Field(ge=0, lt=1, description="Share of the run after which the term begins: maps must first form."),
    ] = 40 / 60,
    pool: Annotated[
        Literal["sum", "mean"],
        Field(description="Of the channels' squares; sum: as printed, maps of a single bright position."),
    ] = "mean",
    skip: Annotated[int, Field(ge=0, description="So many of the first stages take no part.")] = 0,
) -> Plan:
    """Each stage looks where the next deeper one looks (Hou et al., 2019)."""
    from ..core import Phase
    from ..methods.sad import SAD, learners

    network = job.network()
    learners(dry(job, network).stages, skip)
    yield Phase("train", SAD(network, weight=weight, start=start, pool=pool, skip=skip))


def sla_sd(
    job: Job,
    *,
    weight: Annotated[
        float, Field(ge=0, description="Factor of the KL term from the aggregated prediction.")
    ] = 1.0,
    temperature: Temperature = 1.0,
    beta: Annotated[
        float, Field(ge=0, description="Factor of the deployed classifier's cross-entropy.")
    ] = 1.0,
    joint_weight: Annotated[
        float, Field(ge=0, description="Factor of the joint cross-entropy, a mean; 4: the sum of the turns.")
    ] = 1.0,
) -> Plan:
    """Labels of class and rotation; their aggregated prediction teaches (Lee et al., 2020)."""
    from torch import nn

    from ..core import Phase
    from ..methods.sla import ROTATIONS, SLASD, features

    network = job.network()
    joint = nn.Linear(features(dry(job, network)).shape[1], ROTATIONS * job.classes)
    yield Phase(
        "train",
        SLASD(network, joint, temperature=temperature, weight=weight, beta=beta, joint_weight=joint_weight),
    )


def byot(
    job: Job,
    *,
    alpha: Annotated[
        float, Field(ge=0, le=1, description="Share of the soft loss in what the shallow ones learn.")
    ] = 0.3,
    beta: Annotated[float, Field(ge=0, description="lambda, of the hint.")] = 1.28e-4,
    temperature: Temperature = 3.0,
    scaled: Annotated[bool, Field(description="The soft loss is multiplied by T^2.")] = False,
    hint_at: Annotated[
        Literal["map", "pooled", "linear"],
        Field(description="What the hint compares: maps, pooled features, or those after a linear layer."),
    ] = "map",
    hint: Annotated[
        Literal["squared", "mean", "sum", "norm"],
        Field(description="Squares summed over channels, meant over all, summed over all, or the norm."),
    ] = "squared",
    unhinted: Annotated[
        tuple[int, ...], Field(description="Shallow classifiers without a hint, numbered from 1.")
    ] = (),
    bottleneck: Annotated[
        Literal["dense", "separable"],
        Field(description="Three convolutions, or depth-wise separable pairs, one for each halving."),
    ] = "dense",
    attention: Annotated[
        bool, Field(description="Stages are first multiplied by an attention map of their own.")
    ] = False,
    ce_weight: Annotated[
        float | None, Field(ge=0, description="Factor of the shallow cross-entropy; none: 1 - alpha.")
    ] = None,
    deepest_weight: Annotated[
        float, Field(ge=0, description="Factor of the deepest classifier's cross-entropy.")
    ] = 1.0,
) -> Plan:
    """Shallow classifiers learn from the deepest one (Zhang et al., 2019)."""
    from ..core import Phase
    from ..methods.byot import BYOT
    from ..methods.byot_exits import exits_of

    network = job.network()
    exits = exits_of(dry(job, network), job.classes, bottleneck=bottleneck, attention=attention)
    method = BYOT(
        network,
        exits,
        alpha=alpha,
        beta=beta,
        temperature=temperature,
        scaled=scaled,
        hint_at=hint_at,
        hint=hint,
        unhinted=unhinted,
        ce_weight=ce_weight,
        deepest_weight=deepest_weight,
    )
    yield Phase("train", method)
