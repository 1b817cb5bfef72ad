"""FRSKD by name: the network, the self-teacher on its stages, and what they compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .job import Job
from .peers import dry
from .terms import Temperature

if TYPE_CHECKING:
    from ..core import Method, Output, Plan, Term
    from ..methods.frskd import FRSKD
    from ..models.dense.bifpn import SelfTeacher

BETA: dict[str, float] = {"at": 100.0, "at_norm": 0.1, "fitnet": 100.0, "overhaul": 0.001, "none": 0.0}
"""Weight of the features where none is given: the paper's for CIFAR-100; of the others, which it does not
print, those of the public benchmark, and for ``at_norm`` about the size of ``at``."""

Alpha = Annotated[float, Field(ge=0, description="alpha of eq. 5, weight of the soft labels.")]
Beta = Annotated[
    float | None,
    Field(ge=0, description="beta of eq. 5, weight of the features; none: 100 for at, its own for the rest."),
]
Features = Annotated[
    Literal["at", "at_norm", "fitnet", "overhaul", "none"],
    Field(description="What is compared: attention maps, their norm as printed, or table 5's; none."),
]
Pyramid = Annotated[
    Literal["bifpnc", "bifpn"],
    Field(description="bifpnc: channels grow with depth; bifpn: as the deepest has (table 6)."),
]
Width = Annotated[float, Field(gt=0, description="w, channels of the self-teacher per channel of a stage.")]
Depth = Annotated[int, Field(ge=1, description="Depth-wise separable convolutions of a node.")]
Levels = Annotated[int | None, Field(ge=2, description="Deepest stages that it refines; none: all.")]
Upsampling = Annotated[
    Literal["bilinear", "nearest"], Field(description="Printed, or as in the authors' code.")
]
SoftLabels = Annotated[
    Literal["code", "paper"],
    Field(description="Eq. 4: K^2 KL(self-teacher || classifier), or as printed, reversed and without K^2."),
]
Start = Annotated[float, Field(ge=0, le=1, description="Share of the run before alpha and beta count.")]
Ramp = Annotated[float, Field(ge=0, le=1, description="Share of the run, after that, over which they rise.")]


def frskd(
    job: Job,
    *,
    alpha: Alpha = 2.0,
    beta: Beta = None,
    temperature: Temperature = 4.0,
    features: Features = "at",
    pyramid: Pyramid = "bifpnc",
    width: Width = 2.0,
    depth: Depth = 2,
    levels: Levels = None,
    upsampling: Upsampling = "bilinear",
    soft_labels: SoftLabels = "code",
    start: Start = 0.0,
    ramp: Ramp = 0.0,
    sla: Annotated[bool, Field(description="FRSKD + SLA: rotations, labels of class and rotation.")] = False,
    sla_weight: Annotated[float, Field(ge=0, description="Of the aggregated predictions' KL terms.")] = 1.0,
) -> Plan:
    """A self-teacher on the network's own feature maps refines them and its soft labels (Ji et al., 2021)."""
    from ..core import Phase
    from ..methods.frskd import FRSKD
    from ..methods.matching import preact_pairs
    from ..models.dense.bifpn import SelfTeacher

    network = job.network()
    output = dry(job, network)
    if features == "overhaul":
        preact_pairs(output, output, "overhaul")
    teacher = SelfTeacher.of(
        output, job.classes, pyramid=pyramid, width=width, levels=levels, depth=depth, upsampling=upsampling
    )
    feature = feature_term(features, BETA[features] if beta is None else beta, teacher)
    method = FRSKD(
        network,
        teacher,
        feature,
        alpha=alpha,
        temperature=temperature,
        soft_labels=soft_labels,
        start=start,
        ramp=ramp,
    )
    yield Phase("train", augmented(method, output, teacher.widths[-1], sla_weight) if sla else method)


def feature_term(features: str, beta: float, teacher: SelfTeacher) -> Term | None:
    """The term that compares the stages of classifier and self-teacher; None for ``none``.

    Args:
        features: its name.
        beta: its weight.
        teacher: refines the classifier's stages.
    """
    from ..methods.at import AT
    from ..methods.fitnet import Hints
    from ..methods.frskd import AttentionNorm
    from ..methods.ofd import OFD, margin

    if features == "none":
        return None
    if features == "at":
        return AT(weight=beta)
    if features == "at_norm":
        return AttentionNorm(weight=beta)
    if features == "fitnet":
        return Hints(teacher.channels, teacher.widths, weight=beta)
    margins = [margin(norm.weight.detach(), norm.bias.detach()) for norm in teacher.last_norms()]
    return OFD(teacher.channels, teacher.widths, margins, weight=beta)


def augmented(method: FRSKD, output: Output, width: int, weight: float) -> Method:
    """FRSKD + SLA: a joint classifier of class and rotation on each of the two networks.

    Args:
        method: FRSKD itself.
        output: what its network gives.
        width: of the self-teacher's last stage.
        weight: of the aggregated predictions.
    """
    from torch import nn

    from ..methods.frskd_sla import FRSKDSLA
    from ..methods.sla import ROTATIONS, features

    joint = ROTATIONS * output.logits.shape[1]
    heads = nn.Linear(features(output).shape[1], joint), nn.Linear(width, joint)
    return FRSKDSLA(method, *heads, sla_weight=weight)
