"""FRSKD + SLA: a network, its self-teacher, and images turned by 0, 90, 180 and 270 degrees.

Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself, CVPR 2021 (FRSKD + SLA of tables 1 and 2).
Lee, Hwang, Shin: Self-supervised Label Augmentation via Input Transformations, ICML 2020.

    student, teacher            outputs of classifier and self-teacher for all four turns
    joint, teacher_joint        their classifiers of class and turn
    aggregated                  mean over the turns of the joint logits (methods/sla.py)

Choices. The paper only names the combination; the losses are those of the authors' code. Both networks
learn the labels of the unrotated images, the joint labels of all rotations, and with ``sla_weight`` their
own aggregated prediction (a constant) at FRSKD's temperature. FRSKD's KD term compares both the predictions
for the unrotated images and the aggregated ones, with the self-teacher's detached; its feature term compares
the features of all rotations.
    Here all terms use one pass over the four rotations. The authors' code passes the unrotated images once
        more by themselves, so its step costs five plain steps instead of four.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, Output, cross_entropy
from ..core.options import Doc, Ge, checked
from .frskd import FRSKD, Refined
from .kd import softened_kl
from .sla import Aggregated, aggregate, joint_labels, joint_logits, rotations


class FRSKDSLA(Method):
    """FRSKD on rotated images, with joint labels of class and rotation.

    Terms: ``ce`` and ``ce_self_teacher`` (labels of the unrotated images), ``ce_joint`` (joint labels) and
    ``kl`` (aggregated predictions) of both networks, and FRSKD's ``kd`` and ``feature``.

    Args:
        frskd: the two networks and the terms between them.
        joint: features of the network, (B, D) -> (B, 4 K), a linear layer.
        teacher_joint: the same of the self-teacher.

    Raises:
        ValueError: a negative weight; when it runs, images that are not square.
    """

    @checked
    def __init__(
        self,
        frskd: FRSKD,
        joint: nn.Module,
        teacher_joint: nn.Module,
        *,
        sla_weight: Annotated[
            float, Ge(0), Doc("Factor of the KL terms to the predictions aggregated over the rotations.")
        ] = 1.0,
    ) -> None:
        super().__init__()
        self.frskd = frskd
        self.joint = joint
        self.teacher_joint = teacher_joint
        self.sla_weight = sla_weight

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        images = len(batch.x)
        student, teacher = self.frskd.outputs(rotations(batch.x))
        joint, teacher_joint = self._joint(student, teacher)
        single, teacher_single = student.logits[:images], teacher.logits[:images]
        aggregated, teacher_aggregated = aggregate(joint), aggregate(teacher_joint)
        labels = joint_labels(batch.y)
        temperature = self.frskd.softness(batch)
        kl = softened_kl(single, aggregated.detach(), temperature=temperature)
        kl = kl + softened_kl(teacher_single, teacher_aggregated.detach(), temperature=temperature)
        both = student._replace(logits=torch.cat([single, aggregated]))
        teacher_both = teacher._replace(logits=torch.cat([teacher_single, teacher_aggregated]))
        return {
            "ce": cross_entropy(single, batch.y),
            "ce_self_teacher": cross_entropy(teacher_single, batch.y),
            "ce_joint": cross_entropy(joint, labels) + cross_entropy(teacher_joint, labels),
            "kl": self.sla_weight * kl,
            **self.frskd.distilled(both, teacher_both.detach(), batch),
        }

    def _joint(self, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
        return joint_logits(student, self.joint), joint_logits(teacher, self.teacher_joint)

    def predictors(self) -> dict[str, nn.Module]:
        network, self_teacher = self.frskd.network, self.frskd.self_teacher
        refined = Refined(network, self_teacher)
        return {
            "network": Classifier(network),
            "self_teacher": refined,
            "aggregated": Aggregated(network, self.joint),
        }

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        student, teacher = self.frskd.outputs(rotations(x))
        joint, _ = self._joint(student, teacher)
        single, teacher_single = student.logits[: len(x)], teacher.logits[: len(x)]
        return {"network": single, "self_teacher": teacher_single, "aggregated": aggregate(joint)}
