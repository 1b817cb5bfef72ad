"""FRSKD: the network, the self-teacher on its stages, and the feature loss between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import nn
from typing_extensions import Doc

from ..config.declared import PassedOn
from ..core import Method, Output, Phase, Plan, Term
from ..core.options import own
from ..methods.at import AT
from ..methods.fitnet import Hints
from ..methods.frskd import FRSKD, AttentionNorm
from ..methods.frskd_sla import FRSKDSLA
from ..methods.matching import preact_pairs
from ..methods.ofd import OFD, margin
from ..methods.sla import ROTATIONS, features
from ..models.dense.self_teacher import SelfTeacher
from ..models.surgery.preacts import give_preacts
from .job import Job

BETA: dict[str, float] = {"at": 100.0, "at_norm": 0.1, "fitnet": 100.0, "overhaul": 0.001, "none": 0.0}
"""Default of beta. ``at``: the paper's for CIFAR-100; ``fitnet``, ``overhaul``: the public benchmark's;
``at_norm``: a value that makes the term about as large as ``at``."""


def frskd(
    job: Job,
    *,
    beta: Annotated[
        float | None,
        Ge(0),
        Doc(
            "beta of eq. 5, weight of the feature term; none: 100 for at and fitnet, 0.1 for at_norm, 0.001 "
            "for overhaul."
        ),
    ] = None,
    features: Annotated[
        Literal["at", "at_norm", "fitnet", "overhaul", "none"],
        Doc(
            "How the feature maps are compared: at, attention maps; at_norm, eq. 3 as printed; fitnet and "
            "overhaul, as in table 5; none: only the soft labels are used."
        ),
    ] = "at",
    sla: Annotated[
        bool, Doc("FRSKD + SLA: train on four rotations of each image, with labels of class and rotation.")
    ] = False,
    **options: Annotated[
        Any,
        PassedOn(
            "methods.frskd:FRSKD", "models.dense.self_teacher:SelfTeacher", "methods.frskd_sla:FRSKDSLA"
        ),
    ],
) -> Plan:
    """A self-teacher on the network's feature maps gives refined maps and soft labels (Ji et al., 2021)."""
    network = job.network()
    if features == "overhaul":
        give_preacts(network, job.shape)
    output = job.look(network)
    if features == "overhaul":
        preact_pairs(output, output, "overhaul")
    teacher = SelfTeacher.of(output, job.classes, **own(SelfTeacher, options))
    weight = BETA[features] if beta is None else beta
    feature = feature_term(features, weight, teacher)
    method = FRSKD(network, teacher, feature, **own(FRSKD, options))
    if sla:
        yield Phase("train", augmented(method, output, teacher.widths[-1], **own(FRSKDSLA, options)))
    else:
        yield Phase("train", method)


def feature_term(features: str, beta: float, teacher: SelfTeacher) -> Term | None:
    """The feature loss between the stages of classifier and self-teacher; None without one.

    Args:
        features: its name.
        beta: its weight.
        teacher: refines the classifier's deepest stages.
    """
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


def augmented(method: FRSKD, output: Output, width: int, **options: Any) -> Method:
    """FRSKD + SLA: a joint classifier of class and rotation on each of the two networks.

    Args:
        method: FRSKD itself.
        output: of its network.
        width: channels of the self-teacher's last stage.
        **options: of FRSKDSLA.
    """
    joint = ROTATIONS * output.logits.shape[1]
    heads = nn.Linear(features(output).shape[1], joint), nn.Linear(width, joint)
    return FRSKDSLA(method, *heads, **options)
