"""How the features of two networks are brought together; every term of features uses it.

Choices. Stages are paired from the deepest backwards, so that networks with different numbers of
them agree at the end, where the classes are told apart. Maps of different sizes are pooled to the
smaller of the two (adaptive average pooling). Nothing is ever broadcast: what cannot be paired is
an error that names both shapes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..core import Output

Pair = tuple[Tensor, Tensor]
"""Of the student and of the teacher."""


def stage_pairs(student: Output, teacher: Output, who: str) -> list[Pair]:
    """Stages of both, deepest with deepest, as many as the shallower network has; shallow to deep.

    Raises:
        ValueError: ``who`` needs stages and a network gives none.
    """
    for name, output in (("student", student), ("teacher", teacher)):
        if not output.stages:
            raise ValueError(
                f"{who} compares feature maps, but the {name} gives no stages; name its modules: "
                "cohobate.adapt(network, stages=[...])"
            )
    count = min(len(student.stages), len(teacher.stages))
    return list(zip(student.stages[-count:], teacher.stages[-count:], strict=True))


def pooled_pair(student: Output, teacher: Output, who: str) -> Pair:
    """What both classifiers see, (B, D) each.

    Raises:
        ValueError: ``who`` needs it and a network does not give it.
    """
    for name, output in (("student", student), ("teacher", teacher)):
        if output.pooled is None:
            raise ValueError(
                f"{who} compares what the classifiers see, but the {name} does not give it; name its "
                "classifier: cohobate.adapt(network, head=...)"
            )
    assert student.pooled is not None
    assert teacher.pooled is not None
    return student.pooled, teacher.pooled


def to_common_size(student: Tensor, teacher: Tensor) -> Pair:
    """Two maps, (B, C, H, W) and (B, D, h, w), both pooled to (min(H, h), min(W, w))."""
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return _pooled(student, size), _pooled(teacher, size)


def _pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size)


def require_same(student: Tensor, teacher: Tensor, who: str, remedy: str) -> None:
    """Refuse two tensors of different shapes.

    Raises:
        ValueError: naming ``who``, both shapes and the remedy.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"{who}: student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ; {remedy}"
        )
