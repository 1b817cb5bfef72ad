"""The methods that learn from masks, on toy networks that predict every pixel, and toy scenes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from zoo import CLASSES, SIZE, Case, toy, toy_wide

from cohobate.core import Frozen, Term
from cohobate.methods.distillation import Distillation
from cohobate.models.dense.network import DenseNetwork

SHAPE = (3, SIZE, SIZE)


def toy_dense() -> nn.Module:
    """Maps of 8 channels at three levels."""
    return DenseNetwork.on(toy(), CLASSES, SHAPE, width=8, layers=1)


def toy_dense_wide() -> nn.Module:
    """Maps of 12 channels."""
    return DenseNetwork.on(toy_wide(), CLASSES, SHAPE, width=12, layers=1)


def taught(make: Callable[[], Term]) -> Case:
    """One term between a narrow and a wide network."""
    term = lambda: Distillation(toy_dense(), Frozen(toy_dense_wide()), {"term": make()}, ce_weight=1.0)  # noqa: E731
    return Case(term, toy_dense)
