"""FRSKD: the network, the self-teacher on its stages, and the feature loss between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from torch import nn
from typing_extensions import Doc

from ..config.declared import PassedOn, declaration
from ..core import Method, Output, Phase, Plan, Task, Term
from ..core.courses import Changing
from ..core.options import own
from ..methods.at import AT
from ..methods.fitnet import Hints
from ..methods.frskd import FRSKD, AttentionNorm
from ..methods.frskd_sla import FRSKDSLA
from ..methods.matching import preact_pairs
from ..methods.ofd import OFD, margin
from ..methods.sla import ROTATIONS, features
from ..models.dense.network import DenseHead
from ..models.dense.self_teacher import DenseSelfTeacher, SelfTeacher
from ..models.surgery.preacts import give_preacts
from .job import Job

BETA: dict[str, float] = {"at": 100.0, "at_norm": 0.1, "fitnet": 100.0, "overhaul": 0.001, "none": 0.0}
"""Default of beta. ``at``: the paper's for CIFAR-100; ``fitnet``, ``overhaul``: the public benchmark's;
``at_norm``: a value that makes the term about as large as ``at``."""

MASKS: dict[str, Any] = {
    **{"alpha": 1.0, "temperature": 1.0, "start": 2 / 3, "ramp": 1 / 3},
    **{"width": 1.0, "depth": 1, "layers": 2},
}
"""Defaults where the data has masks: those of section 6, the temperature of the authors' code, and one
convolution at a node as in the network's own pyramid."""

BETA_MASKS = 50.0
"""Default of beta for ``at`` with masks (section 6)."""


def defaults(task: Task) -> dict[str, Any]:
    """The defaults that depend on the labels; for one label an image those of the classes that use them."""
    if task == "segmentation":
        return dict(MASKS)
    places = "methods.frskd:FRSKD", "models.dense.self_teacher:SelfTeacher"
    declared = {name: option for place in places for name, option in declaration(place).options.items()}
    return {name: declared[name].default for name in MASKS if name != "layers"}


def frskd(
    job: Job,
    *,
    alpha: Annotated[
        float | None, Ge(0), Doc("alpha of eq. 5, weight of the KL term; none: 2, and 1 with masks.")
    ] = None,
    beta: Annotated[
        float | None,
        Ge(0),
        Doc(
            "beta of eq. 5, weight of the feature term; none: 100 for at (50 with masks) and fitnet, 0.1 for "
            "at_norm, 0.001 for overhaul."
        ),
    ] = None,
    temperature: Annotated[
        float | str | None,
        Changing(Gt(0)),
        Doc(
            "T, temperature that softens both predictions; 8..2 changes it linearly over the run; none: 4, "
            "and 1 with masks."
        ),
    ] = None,
    start: Annotated[
        float | None,
        Ge(0),
        Le(1),
        Doc("Share of the run during which alpha and beta are 0; none: 0, and 2/3 with masks."),
    ] = None,
    ramp: Annotated[
        float | None,
        Ge(0),
        Le(1),
        Doc(
            "Share of the run, after --start, over which alpha and beta rise from 0; none: 0, and 1/3 with "
            "masks."
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
    width: Annotated[
        float | None,
        Gt(0),
        Doc("w, channels of the self-teacher for each channel of a stage; none: 2, and 1 with masks."),
    ] = None,
    depth: Annotated[
        int | None,
        Ge(1),
        Doc(
            "Number of depth-wise separable convolutions at each node of the pyramid; none: 2, and 1 with "
            "masks."
        ),
    ] = None,
    layers: Annotated[
        int | None,
        Ge(1),
        Doc("Number of layers of the self-teacher's pyramid, on one another; none: 1, and 2 with masks."),
    ] = None,
    **options: Annotated[
        Any,
        PassedOn(
            "methods.frskd:FRSKD", "models.dense.self_teacher:SelfTeacher", "methods.frskd_sla:FRSKDSLA"
        ),
    ],
) -> Plan:
    """A self-teacher on the network's feature maps gives refined maps and soft labels (Ji et al., 2021)."""
    dense = job.dataset.task == "segmentation"
    if dense:
        refuse_with_masks(features, sla)
    network = job.network()
    if features == "overhaul":
        give_preacts(network, job.shape)
    output = job.look(network)
    if features == "overhaul":
        preact_pairs(output, output, "overhaul")
    asked = {"alpha": alpha, "temperature": temperature, "start": start, "ramp": ramp}
    asked |= {"width": width, "depth": depth, "layers": layers}
    options |= defaults(job.dataset.task) | {name: v for name, v in asked.items() if v is not None}
    teacher = self_teacher(network, output, job.classes, options)
    weight = (BETA_MASKS if dense and features == "at" else BETA[features]) if beta is None else beta
    feature = feature_term(features, weight, teacher)
    method = FRSKD(network, teacher, feature, **own(FRSKD, options))
    if sla:
        yield Phase("train", augmented(method, output, teacher.widths[-1], **own(FRSKDSLA, options)))
    else:
        yield Phase("train", method)


def refuse_with_masks(features: str, sla: bool) -> None:
    """Raise a ValueError for an option that needs one label an image."""
    if sla:
        raise ValueError(
            "sla turns images, and predicts how with the class of each, so not with masks; leave it out"
        )
    if features == "overhaul":
        raise ValueError(
            "overhaul compares maps before their last ReLU, which a pyramid under a dense head does not "
            "give; with masks features is at, at_norm, fitnet or none"
        )


def self_teacher(
    network: nn.Module, output: Output, classes: int, options: dict[str, Any]
) -> SelfTeacher | DenseSelfTeacher:
    """The self-teacher on a network, for the task that its logits show; a dense head is as wide as its own.

    Args:
        network: the classifier.
        output: of the network.
        classes: K.
        options: of the self-teacher, among others.
    """
    if output.logits.dim() == 2:
        return SelfTeacher.of(output, classes, **own(SelfTeacher, options))
    head = next((module.width for module in network.modules() if isinstance(module, DenseHead)), None)
    return DenseSelfTeacher.of(output, classes, head=head, **own(DenseSelfTeacher, options))


def feature_term(features: str, beta: float, teacher: SelfTeacher | DenseSelfTeacher) -> Term | None:
    """The feature loss between the stages of classifier and self-teacher; None without one.

    Args:
        features: its name.
        beta: its weight.
        teacher: refines the classifier's deepest stages.

    Raises:
        ValueError: ``overhaul`` with a self-teacher that predicts every pixel.
    """
    if features == "none":
        return None
    if features == "at":
        return AT(weight=beta)
    if features == "at_norm":
        return AttentionNorm(weight=beta)
    if features == "fitnet":
        return Hints(teacher.channels, teacher.widths, weight=beta)
    if not isinstance(teacher, SelfTeacher):
        raise ValueError(
            f"{features} compares maps before their last ReLU, which {type(teacher).__name__} does not give; "
            "take at, at_norm, fitnet or none"
        )
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
