"""FitNets: a stage of the teacher is a hint for a stage of the student.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets, ICLR 2015.

    u_h         teacher         the hint: a stage of the teacher
    v_g         student         the guided stage of the student
    r, W_r      Regressor       brings the guided stage to the hint's channels
    k*          HintTraining, then knowledge distillation: the two phases of the paper's algorithm 1

Choices. The paper's regressor is one convolution with the nonlinearity of the hint. Here, as in
the public benchmark, it is a convolution, batch norm and ReLU; the convolution is 1x1 and maps of
different sizes are pooled to the smaller of the two before it. The error of eq. 3 is averaged
over all elements, without the 1/2, as the usual weight of 100 assumes. The hint is the middle
pair of stages (number ``count // 2`` of them), as in the paper. With ``--taps benchmark`` it is
what the public benchmark compares: the second pair (of three or four), the convolution brings the
student to the hint's size (:class:`SizedRegressor`), and of wide ResNets and VGGs other maps are
the stages. In the benchmark the hint is one more term beside the cross-entropy, which is what
:class:`FitNet` in a ``Distillation`` gives; :class:`HintTraining` is the paper's first phase. With masks
whole maps are compared, ignored pixels too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Between, Classifier, Frozen, Method, Output, Term, as_output, float32
from ..core.options import Doc, Weight, checked
from .matching import Pair, require_channels, require_same, stage_pairs, to_common_size

BENCHMARK_STAGE = 1
"""The public benchmark's hint: the second stage, of three or four."""


def hint_pair(student: Output, teacher: Output, stage: int | None = None) -> Pair:
    """The guided stage and the hint, (B, C, H, W) and (B, D, h, w).

    Args:
        student: of the student.
        teacher: of the teacher.
        stage: index into the pairs of stages, shallow to deep; None is the middle.

    Raises:
        ValueError: a network gives no stages, or there is no such pair.
    """
    pairs = stage_pairs(student, teacher, "FitNet")
    index = len(pairs) // 2 if stage is None else stage
    if not -len(pairs) <= index < len(pairs):
        raise ValueError(
            f"FitNet: the networks have {len(pairs)} pairs of stages, so stage goes from {-len(pairs)} to "
            f"{len(pairs) - 1}, got {stage}"
        )
    return pairs[index]


@float32
def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error over all elements; the caller detaches the teacher.

    Args:
        student: the regressed stage, (B, D, H, W).
        teacher: the hint, the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    require_same(student, teacher, "FitNet", "regress the student's stage to the hint's channels and size")
    return F.mse_loss(student, teacher)  # Eq. 3


class Regressor(nn.Module):
    """1x1 convolution, batch norm, ReLU: (B, C, H, W) -> (B, D, H, W).

    Args:
        inputs: C, of the student.
        outputs: D, of the teacher.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


Size = tuple[int, int]


class SizedRegressor(nn.Module):
    """The benchmark's: a convolution that changes the size, batch norm, ReLU.

    (B, C, H, W) -> (B, D, h, w): 3x3 with stride 2 where h is half of H, a transposed 4x4 with stride 2 where
    it is twice H, else as large as it takes to leave h of H without padding (1x1 for equal sizes).

    Args:
        inputs: C, of the student.
        outputs: D, of the teacher.
        size: (H, W) of the student.
        target: (h, w) of the teacher.

    Raises:
        ValueError: the hint is larger than the student's stage, but not twice as large.
    """

    def __init__(self, inputs: int, outputs: int, size: Size, target: Size) -> None:
        super().__init__()
        self.conv = _sized(inputs, outputs, size, target)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _sized(inputs: int, outputs: int, size: Size, target: Size) -> nn.Module:
    pairs = list(zip(size, target, strict=True))
    if all(ours == 2 * theirs for ours, theirs in pairs):
        return nn.Conv2d(inputs, outputs, 3, 2, 1)
    if all(2 * ours == theirs for ours, theirs in pairs):
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    if all(ours >= theirs for ours, theirs in pairs):
        return nn.Conv2d(inputs, outputs, (1 + size[0] - target[0], 1 + size[1] - target[1]))
    raise ValueError(
        f"FitNet: the benchmark's regressor cannot bring the student's stage of {size} to the hint's "
        f"{target}, which is larger, but not twice as large; take --taps stages, or another --stage"
    )


class FitNet(Term):
    """The middle stage of the student, regressed to the teacher's (Romero et al., 2015).

    The hint of one pair of stages (:func:`hint_pair`).

    Args:
        student_channels: of the guided stage.
        teacher_channels: of the hint.
        regressor: brings the guided stage to the channels and the size of the hint; by default
            :class:`Regressor`, before which maps of different sizes are pooled to the smaller.
    """

    reads_labels = False

    @checked
    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        regressor: nn.Module | None = None,
        *,
        stage: Annotated[
            int | None,
            Doc(
                "Stage that is compared, counted from 0 (shallowest), or from the end if negative; by "
                "default the middle one."
            ),
        ] = None,
        weight: Weight = 100.0,
    ) -> None:
        super().__init__()
        self.channels = (student_channels, teacher_channels)
        self.stage = stage
        self.weight = weight
        self.pools = regressor is None
        self.regressor = Regressor(student_channels, teacher_channels) if regressor is None else regressor

    @classmethod
    def between(cls, networks: Between, **options: Any) -> Self:
        benchmark = networks.taps == "benchmark"
        if benchmark and options.get("stage") is None:
            options["stage"] = BENCHMARK_STAGE
        student, teacher = hint_pair(networks.student, networks.teacher, options.get("stage"))
        channels = student.shape[1], teacher.shape[1]
        sizes = ((x.shape[2], x.shape[3]) for x in (student, teacher))
        return cls(*channels, SizedRegressor(*channels, *sizes) if benchmark else None, **options)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pair = hint_pair(student, teacher.detach(), self.stage)
        require_channels([pair], self.channels[:1], self.channels[1:], "FitNet")
        guided, hint = to_common_size(*pair) if self.pools else pair
        return hint_loss(self.regressor(guided), hint)


class Hints(Term):
    """The hint of every pair of stages, summed.

    Args:
        student_channels: of the pairs (:func:`cohobate.methods.matching.stage_pairs`), shallow to deep.
        teacher_channels: the same of the teacher.

    Raises:
        ValueError: the numbers of channels do not form pairs, or an option is out of range.
    """

    reads_labels = False

    @checked
    def __init__(
        self, student_channels: Sequence[int], teacher_channels: Sequence[int], *, weight: Weight = 100.0
    ) -> None:
        super().__init__()
        pairs = list(zip(student_channels, teacher_channels, strict=True))
        self.weight = weight
        self.hints = nn.ModuleList(FitNet(*pair, stage=stage) for stage, pair in enumerate(pairs))

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return torch.stack([hint(student, teacher, batch) for hint in self.hints]).sum()


class HintTraining(Method):
    """The first phase: the hint alone trains the student up to the guided stage.

    Deeper stages are not trained: they begin the second phase with their initial weights, but with the
    batch-norm statistics of the first.

    Args:
        student: the network to train.
        teacher: frozen (a plain module is copied and frozen).
        term: the hint, scaled by its own ``weight``.
    """

    rests = True

    def __init__(self, student: nn.Module, teacher: nn.Module, term: Term) -> None:
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)
        self.term = term

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        student, teacher = as_output(self.student(batch.x)), self.teacher(batch.x)
        return {"hint": self.term.weight * self.term(student, teacher, batch)}

    @property
    def label_readers(self) -> tuple[str, ...]:
        return (type(self.term).__name__,) if self.term.reads_labels else ()

    def predictors(self) -> dict[str, nn.Module]:
        return {"student": Classifier(self.student)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"student": as_output(self.student(x)).logits}
