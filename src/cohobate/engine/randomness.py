"""Every random state of a process, as tensors and JSON."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch, on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The random state of this process: tensors, and values that JSON can represent."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    name, keys, *rest = np.random.get_state()
    version, numbers, gauss = random.getstate()
    numpy_state = [name, np.asarray(keys).tolist(), *rest]
    return tensors, {"numpy": numpy_state, "python": [version, list(numbers), gauss]}


def restore(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Restore a state that :func:`random_state` returned."""
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    name, keys, *rest = facts["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    version, numbers, gauss = facts["python"]
    random.setstate((version, tuple(numbers), gauss))


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore the random state at the end of the context: draws inside do not affect later draws."""
    state = random_state()
    try:
        yield
    finally:
        restore(*state)
