"""SP: the student preserves the similarities that the images of a batch have in the teacher.

Tung, Mori: Similarity-Preserving Knowledge Distillation, ICCV 2019.

    A, Q     maps of one stage, and the same with a row for each image, B x (C H W)
    G        Q Q^T, each row divided by its L2 norm; B x B
    b        B, the images of the batch
    gamma    weight

Channels and sizes of student and teacher may differ freely: only the B x B matrices are compared.

Choices.
    Stage: the deepest of each network, as in the public benchmark; of a wide ResNet after its last batch
        norm and ReLU, while the benchmark reads the raw sum before them (``--taps benchmark``).
    Weight: 3000 with cross-entropy 1, the public setting; it belongs to the division by B^2.
    With masks whole maps are compared, ignored pixels too, and the similarities are between images as ever.
    Images whose map is zero everywhere have similarities of 0. Rows with a norm below 1e-12 are not
        divided by it, so that no gradient explodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Batch, Output, Term, float32
from ..core.options import Weight, checked
from .matching import stage_pairs


@float32
def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_SP of two sets of maps; the caller detaches the teacher.

    Args:
        student: (B, ...), maps or features.
        teacher: (B, ...) of the same images.

    Raises:
        ValueError: the numbers of images differ.
    """
    if len(student) != len(teacher):
        raise ValueError(
            f"SP: student {tuple(student.shape)} and teacher {tuple(teacher.shape)} are of different "
            "batches; give both networks the same images"
        )
    difference = _similarities(teacher) - _similarities(student)
    return difference.square().sum() / len(student) ** 2  # L_SP


def _similarities(maps: Tensor) -> Tensor:
    """G, (B, B)."""
    rows = maps.flatten(start_dim=1)
    gram = rows @ rows.T
    norm = torch.linalg.vector_norm(gram, dim=1, keepdim=True)
    return gram / torch.where(norm > 1e-12, norm, 1.0)  # G


class SP(Term):
    """Similarities between the images of a batch (Tung and Mori, 2019).

    Difference of the pairwise similarities in the deepest stages of student and teacher.
    """

    reads_labels = False

    @checked
    def __init__(self, *, weight: Weight = 3000.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ours, theirs = stage_pairs(student, teacher, "SP")[-1]
        return similarity_loss(ours, theirs.detach())
