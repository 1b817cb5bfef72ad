"""Pairs of features of two networks, in shapes that can be compared; used by all terms of features.

Choices. Stages are paired from the deepest backwards, so that the deepest stages of networks with
different numbers of stages are compared. Maps of different sizes are pooled to the smaller size
(adaptive average pooling). Nothing is broadcast: shapes that do not match raise an error that names both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..core import Output, float32

Pair = tuple[Tensor, Tensor]
"""A feature of the student and one of the teacher."""


def stage_pairs(student: Output, teacher: Output, caller: str) -> list[Pair]:
    """Stages of both, deepest with deepest, as many as the shallower network has; shallow to deep.

    Args:
        student, teacher: outputs of the two networks.
        caller: name of the term or method that compares the stages, for its errors.

    Raises:
        ValueError: a network gives no stages.
    """
    for name, output in (("student", student), ("teacher", teacher)):
        if not output.stages:
            raise ValueError(
                f"{caller} compares feature maps, but the {name} gives no stages; name its modules: "
                "cohobate.adapt(network, stages=[...])"
            )
    count = min(len(student.stages), len(teacher.stages))
    return list(zip(student.stages[-count:], teacher.stages[-count:], strict=True))


def preact_pairs(student: Output, teacher: Output, caller: str) -> list[Pair]:
    """As :func:`stage_pairs`, but each stage is read before its last ReLU.

    Raises:
        ValueError: a network does not give its stages before their last ReLU.
    """
    for name, output in (("student", student), ("teacher", teacher)):
        if not output.preacts:
            raise ValueError(
                f"{caller} compares stages before their last ReLU, which the {name} does not give; an "
                "adapted network gives them after cohobate.give_preacts(network, shape), one of your own "
                "returns Output.preacts"
            )
    assert student.preacts is not None
    assert teacher.preacts is not None
    count = min(len(student.preacts), len(teacher.preacts))
    return list(zip(student.preacts[-count:], teacher.preacts[-count:], strict=True))


def channels(pairs: Sequence[Pair]) -> tuple[list[int], list[int]]:
    """Channels of the student and of the teacher, a number for each pair."""
    return [student.shape[1] for student, _ in pairs], [teacher.shape[1] for _, teacher in pairs]


def require_channels(
    pairs: Sequence[Pair], student: Sequence[int], teacher: Sequence[int], caller: str
) -> None:
    """Refuse pairs whose channels are not those that the caller was made for.

    Raises:
        ValueError: naming the caller, its channels and the shapes of the pairs.
    """
    if channels(pairs) != (list(student), list(teacher)):
        shapes = ", ".join(f"{tuple(s.shape)} and {tuple(t.shape)}" for s, t in pairs)
        raise ValueError(
            f"{caller} was made for student channels {list(student)} and teacher channels {list(teacher)}, "
            f"but the pairs (student and teacher) are {shapes}; make it with the channels of these pairs"
        )


def pooled_pair(student: Output, teacher: Output, caller: str) -> Pair:
    """Pooled features of both, the input of their classifiers; (B, D) and (B, E).

    Raises:
        ValueError: a network does not give its pooled features.
    """
    for name, output in (("student", student), ("teacher", teacher)):
        if output.pooled is None:
            raise ValueError(
                f"{caller} compares pooled features, the input of the classifiers, but the {name} does not "
                "give them; name its classifier: cohobate.adapt(network, head=...)"
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


def require_same(student: Tensor, teacher: Tensor, caller: str, remedy: str) -> None:
    """Refuse two tensors of different shapes.

    Raises:
        ValueError: naming the caller, both shapes and the remedy.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"{caller}: student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ; {remedy}"
        )
