"""Attention Transfer: the student learns the spatial attention maps of its teacher.

Zagoruyko, Komodakis: Paying More Attention to Attention: Improving the Performance of Convolutional
Neural Networks via Attention Transfer, ICLR 2017.

    A       x                   feature map of a stage
    Q       attention_map(x)    its spatial attention map, a vector
    beta    weight              factor of the term

Choices. The map is the sum of squares over the channels, one of the paper's; their mean gives the same
map after normalisation. Eq. 2 takes the norm of the difference of two maps; the authors' code, to which
the usual weight of 1000 belongs, takes the mean of the squared difference over batch and positions, and
so does this file. Stages are summed. Features of different sizes are pooled to the smaller size. The maps
are those that the next stage sees. ``--taps benchmark`` reads them as the public benchmark does: of a wide
ResNet the raw sum, without the next batch norm and ReLU (which changes the term by factors of 0.8 to 2.3),
of a VGG four of its five stages (a tenth). Of a network that predicts every pixel the stages are the maps of
its pyramid. Whole maps are compared, pixels that a mask ignores too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, Output, Term, float32
from ..core.options import Weight, checked
from .matching import stage_pairs, to_common_size


@float32
def attention_map(x: Tensor) -> Tensor:
    """Squares averaged over the channels, as a vector of length 1 (of 0 where the map is 0).

    Args:
        x: (B, C, H, W).

    Returns:
        (B, H W).
    """
    # The squared norm over the channels: unlike the squared map, it needs no tensor of the map's size.
    squares = torch.linalg.vector_norm(x, dim=1).square() / x.shape[1]
    return F.normalize(squares.flatten(1), dim=1)  # F_sum^2, then Q / |Q| of Eq. 2


@float32
def at_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two attention maps; the caller detaches the teacher.

    Args:
        student: (B, C, H, W).
        teacher: (B, D, H, W).

    Raises:
        ValueError: the maps differ in height, width or number of images.
    """
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"AT: student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ in more than "
            "channels; pool both to one size (cohobate.methods.matching.to_common_size)"
        )
    return F.mse_loss(attention_map(student), attention_map(teacher))  # Eq. 2, one stage


class AT(Term):
    """Attention maps of all stages (Zagoruyko and Komodakis, 2017).

    Stages are paired from the deepest backwards.
    """

    reads_labels = False

    @checked
    def __init__(self, *, weight: Weight = 1000.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pairs = stage_pairs(student, teacher.detach(), "AT")
        losses = [at_loss(*to_common_size(s, t)) for s, t in pairs]
        return torch.stack(losses).sum()  # Eq. 2, the sum over stages
