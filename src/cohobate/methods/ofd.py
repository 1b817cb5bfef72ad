"""Overhaul of feature distillation (OFD): features before the ReLU, the teacher's raised to its margins.

Heo, Kim, Yun, Park, Kwak, Choi: A Comprehensive Overhaul of Feature Distillation, ICCV 2019.

    F_t, F_s    teacher, student    stages before their last ReLU
    sigma_m     margin_relu         the teacher's transform, max(x, m) a channel
    m           margin              the expected value of a channel, given that it is negative
    T_s, r      Connector           the student's transform, 1x1 convolution and batch norm
    d_p         partial_l2          squared distance, without the values that the next ReLU sets to 0
    mu, sigma   bias, abs(weight)   of the batch norm that the teacher's features come from

Choices. As in the public benchmark: the weight of the deepest pair of stages is 1 and that of each
shallower pair half that of the next; squares are summed over channels and positions and averaged over the
batch, with a factor of 0.001. All stages are compared; the benchmark leaves the first of a VGG's five out
(``--taps benchmark``), and reads all else alike. Maps of different sizes are pooled to the smaller size
before the transforms. The margin is exact for every channel: the scaled complementary error function is
accurate where phi / Phi is not. (Public code replaces the margin with -3 sigma where Phi(-mu / sigma) <
0.001.) A channel with sigma = 0 is constant, so its margin is min(mu, 0).
With masks whole maps are compared, ignored pixels too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..core import Batch, Between, Output, Term, float32
from ..core.options import Weight, checked
from .matching import channels, preact_pairs, require_channels, require_same, to_common_size

TINY = 1e-30


@float32
def margin(weight: Tensor, bias: Tensor) -> Tensor:
    """E[x | x < 0] of x ~ N(mu, sigma^2), mu = bias and sigma = |weight| of a batch norm.

    It is mu - sigma phi(t) / Phi(-t) with t = mu / sigma, and phi(t) / Phi(-t) is
    sqrt(2 / pi) / erfcx(t / sqrt(2)).

    Args:
        weight: (C,).
        bias: (C,).

    Returns:
        (C,), never positive.
    """
    # In float64: for a channel that is rarely negative the two terms are nearly equal.
    mu, sigma = bias.double(), weight.double().abs().clamp(min=TINY)
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(mu / sigma / math.sqrt(2))
    expected: Tensor = mu - sigma * hazard
    return expected.clamp(max=0).to(weight.dtype)


@float32
def margin_relu(x: Tensor, margins: Tensor) -> Tensor:
    """max(x, m) a channel: (B, C, H, W) and (C,) -> (B, C, H, W)."""
    return torch.maximum(x, margins[:, None, None])  # sigma_m


@float32
def partial_l2(student: Tensor, target: Tensor) -> Tensor:
    """Squared distance, which is 0 where student <= target <= 0; the caller detaches the target.

    Args:
        student: the transformed student, (B, C, H, W).
        target: the transformed teacher, the same shape.

    Returns:
        The sum over channels and positions, the mean over the batch.

    Raises:
        ValueError: the shapes differ.
    """
    require_same(student, target, "OFD", "transform the student to the teacher's channels and size")
    free = (student <= target) & (target <= 0)
    squares = (student - target).square()
    return torch.where(free, 0.0, squares).sum() / len(student)  # d_p


class Connector(nn.Module):
    """1x1 convolution and batch norm: (B, C, H, W) -> (B, D, H, W).

    Args:
        inputs: C, of the student.
        outputs: D, of the teacher.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))  # type: ignore[no-any-return]


class MarginReLU(nn.Module):
    """The teacher's transform of one stage.

    Args:
        margins: (D,).
    """

    margins: Tensor

    def __init__(self, margins: Tensor) -> None:
        super().__init__()
        self.register_buffer("margins", margins.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return margin_relu(x, self.margins)


class OFD(Term):
    """Features before the ReLU, above the teacher's margins (Heo et al., 2019).

    Partial L2 between the transformed features of every pair of stages before their last ReLU.

    Args:
        student_channels: of the pairs (:func:`cohobate.methods.matching.preact_pairs`), shallow to deep.
        teacher_channels: the same of the teacher.
        margins: (D,) for each pair, from :func:`margin` or measured.

    Raises:
        ValueError: channels and margins do not fit together, or an option is out of range.
    """

    reads_preacts = True
    reads_labels = False

    @checked
    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        margins: Sequence[Tensor],
        *,
        weight: Weight = 0.001,
    ) -> None:
        super().__init__()
        sizes = [len(m) for m in margins]
        if len(student_channels) != len(teacher_channels) or list(teacher_channels) != sizes:
            raise ValueError(
                "OFD needs as many student channels as teacher channels, and a margin for each channel of "
                f"the teacher, got {list(student_channels)}, {list(teacher_channels)} and margins of {sizes}"
            )
        self.student_channels = tuple(student_channels)
        self.teacher_channels = tuple(teacher_channels)
        self.connectors = nn.ModuleList(map(Connector, student_channels, teacher_channels))
        self.margins = nn.ModuleList(map(MarginReLU, margins))
        self.weight = weight

    @classmethod
    def between(cls, networks: Between, **options: Any) -> Self:
        student, teacher = channels(preact_pairs(networks.student, networks.teacher, "overhaul"))
        norms = networks.teacher_norms()[-len(teacher) :]
        margins = [margin(norm.weight.detach(), norm.bias.detach()) for norm in norms]
        return cls(student, teacher, margins, **options)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pairs = preact_pairs(student, teacher.detach(), "OFD")
        require_channels(pairs, self.student_channels, self.teacher_channels, "OFD")
        losses = []
        for pair, connect, transform in zip(pairs, self.connectors, self.margins, strict=True):
            ours, theirs = to_common_size(*pair)
            losses.append(partial_l2(connect(ours), transform(theirs)))  # d_p(sigma_m(F_t), r(F_s))
        deepest = len(losses) - 1
        return torch.stack([loss / 2 ** (deepest - i) for i, loss in enumerate(losses)]).sum()
