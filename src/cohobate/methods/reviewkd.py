"""Knowledge Review: each stage of the teacher teaches a fusion of the student's stage and all deeper ones.

Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review, CVPR 2021.

    F_s, F_t    student, teacher    levels of both networks, shallow to deep
    U           Fusion              attention-based fusion (ABF) of a level with the fusion of the deeper ones
    D           hcl                 hierarchical context loss (HCL)
    lambda      weight              factor of the term

Choices. The levels are the pairs of stages and, deepest, the pooled features as a 1x1 map. As in the
authors' code and the public benchmark: stages of the teacher are read before their last ReLU (if it returns
these), those of the student after it; all fusions have the width of the student's pooled features, at most
512; maps are resized by nearest neighbours, first the fusion of the deeper levels to the student's level,
then the new fusion to the teacher's level; HCL adds the losses of the maps pooled to 4x4, 2x2 and 1x1 if
these are smaller, each with half the weight of the one before, and divides by the sum of the weights;
levels are summed. The student's stages are those that the next stage sees; the benchmark reads the raw sums
of a wide ResNet and four of a VGG's five stages (``--taps benchmark``). The benchmark's weight is 5, which
rises over the first 20 of 240 epochs. A network that predicts every pixel has no pooled features: its levels
are its stages alone. Whole maps are compared, pixels that a mask ignores too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Between, Output, Term, float32
from ..core.options import Doc, Ge, Le, Weight, checked
from .matching import Pair, channels, pooled_pair, require_channels, require_same, stage_pairs

WIDEST = 512
CONTEXTS = (4, 2, 1)

Size = tuple[int, int]


def level_pairs(student: Output, teacher: Output) -> list[Pair]:
    """The levels to compare, shallow to deep: pairs of stages, then the pooled features as 1x1 maps.

    Dense predictions, (B, K, H, W), come from no pooled features; of them the levels are the stages.

    Raises:
        ValueError: a network gives no stages or no pooled features.
    """
    pairs = stage_pairs(student, _before_relu(teacher), "ReviewKD")
    if student.logits.dim() == 4:
        return pairs
    ours, theirs = pooled_pair(student, teacher, "ReviewKD")
    return [*pairs, (ours[:, :, None, None], theirs[:, :, None, None])]


def _before_relu(output: Output) -> Output:
    return Output(output.logits, output.pooled, output.preacts or output.stages)


@float32
def hcl(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss of one level; the caller detaches the teacher.

    Args:
        student: the fused level, (B, C, H, W).
        teacher: the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    require_same(student, teacher, "ReviewKD", "fuse the student's level to the teacher's channels and size")
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for size in CONTEXTS:
        if size < min(student.shape[2:]):
            weight /= 2
            total += weight
            ours, theirs = (F.adaptive_avg_pool2d(x, size) for x in (student, teacher))
            loss = loss + weight * F.mse_loss(ours, theirs)
    return loss / total


class Fusion(nn.Module):
    """Attention-based fusion of one level of the student with the fusion of the deeper ones.

    Args:
        inputs: C, channels of the student's level.
        width: M, channels of the fusion that is passed to the next shallower level.
        outputs: D, channels of the teacher's level.
        deepest: whether there is no deeper level.
    """

    def __init__(self, inputs: int, width: int, outputs: int, deepest: bool) -> None:
        super().__init__()
        enter = nn.Conv2d(inputs, width, 1, bias=False)
        leave = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
        for convolution in (enter, leave):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.enter = nn.Sequential(enter, nn.BatchNorm2d(width))
        self.attend = None if deepest else nn.Conv2d(2 * width, 2, 1)
        self.leave = nn.Sequential(leave, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, deeper: Tensor | None, size: Size) -> tuple[Tensor, Tensor]:
        """The level in the teacher's shape, (B, D, *size), and the input of the next shallower fusion.

        The latter is (B, M, *size).
        """
        x = self.enter(x)
        if self.attend is not None and deeper is not None:
            deeper = _resized(deeper, (x.shape[2], x.shape[3]))
            ours, theirs = self.attend(torch.cat([x, deeper], dim=1)).sigmoid().chunk(2, dim=1)
            x = ours * x + theirs * deeper
        x = _resized(x, size)
        return self.leave(x), x


def _resized(x: Tensor, size: Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="nearest")


class ReviewKD(Term):
    """Deep stages reviewed together with shallow ones (Chen et al., 2021).

    HCL between the teacher's levels and the student's, fused from the deepest to the shallowest.

    Args:
        student_channels: of the levels (:func:`level_pairs`), shallow to deep, pooled features last.
        teacher_channels: the same of the teacher.

    Raises:
        ValueError: the two differ in length, or an option is out of range.
    """

    reads_labels = False

    @checked
    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        mid_channels: Annotated[
            int | None,
            Ge(1),
            Doc(
                "Channels of the fusion modules; by default those of the student's deepest level, which "
                "are its pooled features where it has these, at most 512."
            ),
        ] = None,
        ramp: Annotated[float, Ge(0), Le(1), Doc("Share of the run over which the loss rises from 0.")] = 20
        / 240,
        weight: Weight = 5.0,
    ) -> None:
        super().__init__()
        if len(student_channels) != len(teacher_channels):
            raise ValueError(
                "ReviewKD needs the channels of as many levels of the student as of the teacher, got "
                f"{list(student_channels)} and {list(teacher_channels)}"
            )
        self.student_channels = tuple(student_channels)
        self.teacher_channels = tuple(teacher_channels)
        width = mid_channels or min(WIDEST, student_channels[-1])
        deepest = len(student_channels) - 1
        self.fusions = nn.ModuleList(
            Fusion(inputs, width, outputs, deepest=level == deepest)
            for level, (inputs, outputs) in enumerate(zip(student_channels, teacher_channels, strict=True))
        )
        self.weight = weight
        self.ramp = ramp

    @classmethod
    def between(cls, networks: Between, **options: Any) -> Self:
        return cls(*channels(level_pairs(networks.student, networks.teacher)), **options)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pairs = level_pairs(student, teacher.detach())
        require_channels(pairs, self.student_channels, self.teacher_channels, "ReviewKD")
        losses = []
        deeper = None
        for (ours, theirs), fuse in zip(pairs[::-1], list(self.fusions)[::-1], strict=True):
            level, deeper = fuse(ours, deeper, (theirs.shape[2], theirs.shape[3]))
            losses.append(hcl(level, theirs))
        return batch.ramp(self.ramp, "ReviewKD") * torch.stack(losses).sum()
