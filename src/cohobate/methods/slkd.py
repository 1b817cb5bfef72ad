"""SLKD: untrained copies of the teacher learn beside the student, and teach it while they learn.

Liu, Li, Cheng: Improving Knowledge Distillation via Transferring Learning Ability, 2023.

    S               student
    T               teacher         trained, frozen
    SL-T_1, SL-T_2  sl_teachers     of the teacher's architecture, untrained
    alpha           alpha           share of the cross-entropy
    tau             temperature     tau > 1 softens predictions
    rho             rho             fusion weight of the first SL-teacher; or one weight each
    lambda          teacher_weight  weight of the student's loss with the teacher as target
    eta             sl_weight       weight of its loss with the fused SL-teachers as target

Choices.
    alpha, rho: the paper prints no values. alpha is 0.1 by default, the usual share in plain KD, whose
        weights the paper says it uses; the fusion weights are equal. There may be any number of SL-teachers;
        the paper has two.
    tau^2: inside the KL term, as in KD. Eqs. 1 to 5 do not print it; without it the loss is, up to
        its scale, ours with alpha tau^2 / (alpha tau^2 + 1 - alpha) in alpha's place.
    Fusion: of logits, since eq. 3 divides the result of eq. 6 by tau. The text mentions probabilities:
        ``fuse="probabilities"`` averages the softened ones.
    Gradients: eqs. 4 and 5 train only the SL-teachers and eq. 7 only the student, since every target is
        detached. So one backward pass of the sum trains each network by its own loss.
    Order of updates: the student learns from the SL-teachers' predictions before the update of the step.
    Sequential learning (SLKD*, tables 5 and 6): the text does not say whether the SL-teachers come first in
        the whole run or in each step: :mod:`cohobate.methods.slkd_sequential` has both.
    Ablations (table 4): ``teacher_weight=0`` leaves the SL-teachers; eta, not printed, is 1 there by default,
        so that they weigh as much as KD's teacher. ``sl_weight=0`` is plain KD, which needs no SL-teachers.
    Rate of the SL-teachers: not printed; that of the teacher's own training, unless ``--sl-lr`` is given.
    Public code: there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor, nn

from ..core import Batch, Classifier, Frozen, Method, as_output, cross_entropy
from ..core.courses import Course, now
from ..core.method import with_cross_entropy
from ..core.options import Doc, Ge, Le, Temperature, checked
from .kd import softened_kl
from .slkd_fusion import Fuse, Fusion, Rho

Alpha = Annotated[
    float, Ge(0), Le(1), Doc("alpha, share of the cross-entropy in eqs. 1 to 5; the KL terms have 1 - alpha.")
]
TeacherWeight = Annotated[
    float,
    Ge(0),
    Doc("lambda of eq. 7, factor of the loss to the teacher; 0: SL-teachers only (table 4)."),
]
ETA, ETA_ALONE = 3.0, 1.0  # beside the teacher, as printed, and without it
SLWeight = Annotated[
    float | None,
    Ge(0),
    Doc("eta of eq. 7, factor of the loss to the fused SL-teachers; none: 3, or 1 if lambda is 0."),
]
Losses = dict[str, Tensor]
SOFTENED = "the temperature of SLKD"


def sl_losses(
    sl_teachers: Sequence[Tensor],
    teacher: Tensor,
    y: Tensor,
    alpha: float,
    temperature: float | Tensor,
    kept: Tensor | None = None,
) -> Losses:
    """The losses of the SL-teachers, two terms each; the caller detaches the teacher.

    Args:
        sl_teachers: logits of each, (B, K).
        teacher: logits, (B, K).
        y: ids or probabilities.
        alpha: share of the cross-entropy.
        temperature: tau.
        kept: (B, H, W), bool: the positions of dense predictions that count; None: all.
    """
    losses = {}
    for i, logits in enumerate(sl_teachers, 1):
        losses[f"ce_sl_{i}"] = alpha * cross_entropy(logits, y)  # Eqs. 4, 5
        losses[f"kd_sl_{i}"] = (1 - alpha) * softened_kl(logits, teacher, temperature, kept)
    return losses


def student_losses(
    student: Tensor,
    teacher: Tensor,
    sl_teacher: Tensor,
    y: Tensor,
    alpha: float,
    temperature: float | Tensor,
    teacher_weight: float,
    sl_weight: float,
    kept: Tensor | None = None,
) -> Losses:
    """lambda L_TS + eta L_SL-TS, term by term; the caller detaches both targets.

    The two cross-entropies are one term. A weight of 0 leaves its KL out.

    Args:
        student, teacher, sl_teacher: logits, (B, K); the last of the fused SL-teachers.
        y: ids or probabilities.
        alpha: share of the cross-entropy.
        temperature: tau.
        teacher_weight: lambda.
        sl_weight: eta.
        kept: (B, H, W), bool: the positions of dense predictions that count; None: all.
    """
    losses = {"ce_student": (teacher_weight + sl_weight) * alpha * cross_entropy(student, y)}  # Eq. 7
    if teacher_weight > 0:
        kl = softened_kl(student, teacher, temperature, kept)
        losses["kd_teacher"] = teacher_weight * (1 - alpha) * kl  # Eq. 1
    if sl_weight > 0:
        kl = softened_kl(student, sl_teacher, temperature, kept)
        losses["kd_sl"] = sl_weight * (1 - alpha) * kl  # Eq. 3
    return losses


class SLKD(Method):
    """Student and SL-teachers learn side by side: eqs. 4 and 5, and eq. 7.

    Terms: ``ce_student``, ``kd_teacher`` and ``kd_sl`` of the student; ``ce_sl_1``, ``kd_sl_1`` and so
    on of the SL-teachers.

    Args:
        student: the network to train and deploy.
        teacher: frozen (a plain module is copied and frozen).
        sl_teachers: untrained networks of the teacher's architecture, each initialised anew.

    ``rho`` may also be a sequence, one weight for each SL-teacher.

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
        self.sl_teachers = Fusion(sl_teachers, rho=rho, fuse=fuse)
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
        teacher = teacher_logits(self.teacher, batch)
        learners = self.sl_teachers.logits(batch.x)
        return self.guide(batch, teacher, learners) | self.teach(batch, teacher, learners)

    def guide(self, batch: Batch, teacher: Tensor, learners: Sequence[Tensor]) -> Losses:
        """The student's terms; ``learners`` are the SL-teachers' logits."""
        student = as_output(self.student(batch.x)).logits
        temperature = now(self.temperature, batch, SOFTENED)
        sl_teacher = self.sl_teachers.fused(learners, temperature).detach()
        how = self.alpha, temperature, self.teacher_weight, self.sl_weight
        return student_losses(student, teacher, sl_teacher, batch.y, *how, batch.kept)

    def teach(self, batch: Batch, teacher: Tensor, learners: Sequence[Tensor]) -> Losses:
        """The SL-teachers' terms."""
        temperature = now(self.temperature, batch, SOFTENED)
        return sl_losses(learners, teacher, batch.y, self.alpha, temperature, batch.kept)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"student": trained(self.student), "sl_teachers": trained(self.sl_teachers)}

    def predictors(self) -> dict[str, nn.Module]:
        return {"student": Classifier(self.student), **self.sl_teachers.predictors()}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"student": as_output(self.student(x)).logits, **self.sl_teachers.readouts(x)}


def teacher_logits(teacher: Frozen, batch: Batch) -> Tensor:
    """The teacher's logits, detached: ``batch.taught`` if it was computed before, else computed now."""
    return (teacher(batch.x).logits if batch.taught is None else batch.taught).detach()


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that an optimizer may update."""
    return [p for p in module.parameters() if p.requires_grad]


def eta(lam: float, given: float | None) -> float:
    """eta as a number; a ValueError where it and lambda are 0, so that the student has no loss."""
    if given is None:
        return ETA if lam > 0 else ETA_ALONE
    if lam == given == 0:
        raise ValueError(f"teacher_weight and sl_weight must not both be 0, got {lam} and {given}; give one")
    return given
