"""SLKD*, the sequential form: the SL-teachers are trained before the student, in the run or in each step.

Liu, Li, Cheng: Improving Knowledge Distillation via Transferring Learning Ability, 2023, section 4.3
(tables 5 and 6). Equations, symbols and choices: :mod:`cohobate.methods.slkd`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Frozen, Method, as_output, with_cross_entropy
from ..core.courses import Course, now
from ..core.options import Temperature, checked
from .slkd import (
    SLKD,
    SOFTENED,
    Alpha,
    Losses,
    SLWeight,
    TeacherWeight,
    eta,
    sl_losses,
    student_losses,
    teacher_logits,
    trained,
)
from .slkd_fusion import Fuse, Fusion, Rho


class SLKDInTurns(Method):
    """Sequential within each step: the student learns from the predictions of the updated SL-teachers.

    Computing these predictions does not change the SL-teachers' batch-norm statistics.

    Args:
        slkd: the same networks and options in their parallel form.
    """

    turns = 2
    rests = True

    def __init__(self, slkd: SLKD) -> None:
        super().__init__()
        self.slkd = slkd

    @property
    def reads_logits_of(self) -> Frozen:
        return self.slkd.teacher

    @property
    def label_readers(self) -> tuple[str, ...]:
        return self.slkd.label_readers

    def forward(self, batch: Batch, turn: int = 0) -> Losses:
        teacher = teacher_logits(self.slkd.teacher, batch)
        if turn == 0:
            return self.slkd.teach(batch, teacher, self.slkd.sl_teachers.logits(batch.x))
        with torch.no_grad():
            learners = self.slkd.sl_teachers.logits(batch.x, track=False)
        return self.slkd.guide(batch, teacher, learners)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.slkd.groups()

    def predictors(self) -> dict[str, nn.Module]:
        return self.slkd.predictors()

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return self.slkd.readouts(x)


class SelfLearning(Method):
    """The SL-teachers learn from the teacher (eqs. 4, 5): the first phase of SLKD*.

    Args:
        teacher: frozen (a plain module is copied and frozen).
        sl_teachers: as in :class:`SLKD`. ``rho`` and ``fuse`` affect only their fused prediction, which
            is the first predictor where there are several.

    Raises:
        ValueError: an option is out of range.
    """

    @checked
    def __init__(
        self,
        teacher: nn.Module,
        sl_teachers: Sequence[nn.Module],
        *,
        alpha: Alpha = 0.1,
        rho: Rho = None,
        temperature: Temperature = 4.0,
        fuse: Fuse = "logits",
    ) -> None:
        super().__init__()
        self.teacher = Frozen.of(teacher)
        self.sl_teachers = Fusion(sl_teachers, rho=rho, fuse=fuse)
        self.alpha = alpha
        self.temperature = Course.of(temperature)

    @property
    def reads_logits_of(self) -> Frozen:
        return self.teacher

    @property
    def label_readers(self) -> tuple[str, ...]:
        return with_cross_entropy("alpha", self.alpha)

    def forward(self, batch: Batch, turn: int = 0) -> Losses:
        learners = self.sl_teachers.logits(batch.x)
        teacher = teacher_logits(self.teacher, batch)
        temperature = now(self.temperature, batch, SOFTENED)
        return sl_losses(learners, teacher, batch.y, self.alpha, temperature, batch.kept)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"sl_teachers": trained(self.sl_teachers)}

    def predictors(self) -> dict[str, nn.Module]:
        return dict(reversed(self.sl_teachers.predictors().items()))

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return dict(reversed(self.sl_teachers.readouts(x).items()))


class Guided(Method):
    """The student learns from the teacher and from finished SL-teachers (eq. 7): the second phase of SLKD*.

    Args:
        student: the network to train and deploy.
        teacher: frozen (a plain module is copied and frozen).
        sl_teachers: trained by :class:`SelfLearning`, frozen (plain modules are copied and frozen).

    Raises:
        ValueError: an option is out of range.
    """

    @checked
    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        sl_teachers: Sequence[nn.Module],
        *,
        alpha: Alpha = 0.1,
        rho: Rho = None,
        teacher_weight: TeacherWeight = 1.0,
        sl_weight: SLWeight = None,
        temperature: Temperature = 4.0,
        fuse: Fuse = "logits",
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)
        frozen = list(map(Frozen.of, sl_teachers))
        self.sl_teachers = Fusion(frozen, rho=rho, fuse=fuse)
        self.alpha = alpha
        self.temperature = Course.of(temperature)
        self.teacher_weight = teacher_weight
        self.sl_weight = eta(teacher_weight, sl_weight)

    @property
    def reads_logits_of(self) -> Frozen:
        return self.teacher

    @property
    def label_readers(self) -> tuple[str, ...]:
        return with_cross_entropy("alpha", self.alpha)

    def forward(self, batch: Batch, turn: int = 0) -> Losses:
        student = as_output(self.student(batch.x)).logits
        teacher = teacher_logits(self.teacher, batch)
        temperature = now(self.temperature, batch, SOFTENED)
        sl_teacher = self.sl_teachers.fused(self.sl_teachers.logits(batch.x), temperature).detach()
        how = self.alpha, temperature, self.teacher_weight, self.sl_weight
        return student_losses(student, teacher, sl_teacher, batch.y, *how, batch.kept)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"student": trained(self.student)}

    def predictors(self) -> dict[str, nn.Module]:
        return {"student": Classifier(self.student)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"student": as_output(self.student(x)).logits}
