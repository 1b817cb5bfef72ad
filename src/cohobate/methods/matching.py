"""How the features of two networks are brought together; every term of features uses it.

Choices. Stages are paired from the deepest backwards, so that networks with different numbers of
them agree at the end, where the classes are told apart. Maps of different sizes are pooled to the
smaller of the two (adaptive average pooling). Nothing is ever broadcast: what cannot be paired is
an error that names both shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..core import Output, float32

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


def preact_pairs(student: Output, teacher: Output, who: str) -> list[Pair]:
    """As :func:`stage_pairs`, but each stage is read before its last ReLU.

    Raises:
        ValueError: ``who`` needs that and a network cannot say it.
    """
    for name, output in (("student", student), ("teacher", teacher)):
        if not output.preacts:
            raise ValueError(
                f"{who} compares stages before their last ReLU, which the {name} does not give; take a "
                "built-in network (`cohobate list models`) or give Output.preacts from your own"
            )
    assert student.preacts is not None
    assert teacher.preacts is not None
    count = min(len(student.preacts), len(teacher.preacts))
    return list(zip(student.preacts[-count:], teacher.preacts[-count:], strict=True))


def channels(pairs: Sequence[Pair]) -> tuple[list[int], list[int]]:
    """Channels of the student and of the teacher, a number for each pair."""
    return [student.shape[1] for student, _ in pairs], [teacher.shape[1] for _, teacher in pairs]


def require_channels(pairs: Sequence[Pair], student: Sequence[int], teacher: Sequence[int], who: str) -> None:
    """Refuse pairs that have other channels than ``who`` was made for.

    Raises:
        ValueError: naming ``who``, its channels and the shapes of the pairs.
    """
    if channels(pairs) != (list(student), list(teacher)):
        found = ", ".join(f"{tuple(s.shape)} and {tuple(t.shape)}" for s, t in pairs)
        raise ValueError(
            f"{who} was made for student channels {list(student)} and teacher channels {list(teacher)}, but "
            f"the pairs (student and teacher) are {found}; make it with the channels of these pairs"
        )


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
    return x if x.shape[2:] == size else _pool(x, size)


@float32
def _pool(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.adaptive_avg_pool2d(x, size)


def require_same(student: Tensor, teacher: Tensor, who: str, remedy: str) -> None:
    """Refuse two tensors of different shapes.

    Raises:
        ValueError: naming ``who``, both shapes and the remedy.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"{who}: student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ; {remedy}"
        )
