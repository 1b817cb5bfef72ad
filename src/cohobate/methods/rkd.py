"""RKD: distances and angles between the images of a batch.

Park, Kim, Lu, Cho: Relational Knowledge Distillation, CVPR 2019.

    t_i, s_i      pooled features of image i; teacher and student may differ in their dimensions
    psi_D(i, j)   |s_i - s_j| / mu, mu the mean distance of the batch
    psi_A(i,j,k)  cosine of the angle at j of the triangle i, j, k
    l_delta       Huber's loss, smooth L1 with threshold 1
    lambda_D      distance_weight
    lambda_A      angle_weight

Choices.
    Mean: over all B^2 pairs and B^3 triples, including those that contain an image twice, which add 0; the
        usual weights, 25 and 50 with cross-entropy 1, belong to this mean.
    mu: the mean over the positive distances; images with the same features are left out of it.
    Degenerate triangles (an image twice, or features that are closer than the square root of the machine
        epsilon, relative to mu) have psi_A = 0 and no gradient.
    Angles come from the distances by the law of cosines, |s_i - s_j|^2 + |s_k - s_j|^2 - |s_i - s_k|^2 =
        2 (s_i - s_j).(s_k - s_j): the same numbers without B^2 difference vectors and their B^3 inner
        products. The distances are computed from differences: from inner products, those of close pairs
        would be lost to rounding.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, Output, Term, float32
from ..core.options import Doc, Ge, Weight, checked
from .matching import Pair, pooled_pair


@float32
def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_RKD-D: Huber between the relative distances of all pairs; the caller detaches the teacher.

    Args:
        student: features, (B, D).
        teacher: features of the same images, (B, E).

    Raises:
        ValueError: the features are not of one batch.
    """
    return _of_distances(*_relative_distances(student, teacher))


@float32
def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_RKD-A: Huber between the cosines of all triples; the caller detaches the teacher.

    Time and memory grow with B^3.

    Args:
        student: features, (B, D).
        teacher: features of the same images, (B, E).

    Raises:
        ValueError: the features are not of one batch.
    """
    return _of_angles(*_relative_distances(student, teacher))


@float32
def _relative_distances(student: Tensor, teacher: Tensor) -> Pair:
    """psi_D of both, (B, B)."""
    if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
        raise ValueError(
            f"RKD: student features {tuple(student.shape)} and teacher features {tuple(teacher.shape)} are "
            "not (B, D) and (B, E); give both networks the same images, and pool maps first"
        )
    return _over_mean(student), _over_mean(teacher)


def _over_mean(x: Tensor) -> Tensor:
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)  # mu
    return distance / torch.where(mean > 0, mean, 1.0)  # psi_D


@float32
def _of_distances(student: Tensor, teacher: Tensor) -> Tensor:
    return F.smooth_l1_loss(student, teacher)  # L_RKD-D


@float32
def _of_angles(student: Tensor, teacher: Tensor) -> Tensor:
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher))  # L_RKD-A


def _cosines(distance: Tensor) -> Tensor:
    """(B, B, B): [j, i, k] is the cosine at j between i and k."""
    apart = distance > torch.finfo(distance.dtype).eps ** 0.5
    inverse = torch.where(apart, torch.where(apart, distance, 1.0).reciprocal(), 0.0)
    half = 0.5 * distance.square()
    product = (half.unsqueeze(2) - half) + half.unsqueeze(1)  # (s_i - s_j).(s_k - s_j)
    return product * (inverse.unsqueeze(2) * inverse.unsqueeze(1))  # psi_A


class RKD(Term):
    """Distances and angles between images (Park et al., 2019).

    lambda_D L_RKD-D + lambda_A L_RKD-A between the pooled features of student and teacher.
    """

    reads_labels = False

    @checked
    def __init__(
        self,
        *,
        distance_weight: Annotated[
            float, Ge(0), Doc("lambda_D, factor of the loss over distances between two images.")
        ] = 25.0,
        angle_weight: Annotated[
            float, Ge(0), Doc("lambda_A, factor of the loss over angles between three images.")
        ] = 50.0,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ours, theirs = pooled_pair(student, teacher, "RKD")
        pair = _relative_distances(ours, theirs.detach())
        return self.distance_weight * _of_distances(*pair) + self.angle_weight * _of_angles(*pair)
