"""Which operations of a forward pass a tensor was computed from, and what these cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operation(NamedTuple):
    """One operation: storages that it reads and writes, what it costs, whether it returns a tensor."""

    read: frozenset[int]
    written: frozenset[int]
    cost: int
    gives_tensor: bool


class Dependencies(TorchDispatchMode):
    """Records the operations that run while it is entered.

    Tensors are told apart by their storages: views share one, and whoever reads it depends on all that was
    written to it before. So nothing that is needed is left out, in-place operations and views included.

    Args:
        total: cost of all operations that have run so far.
    """

    def __init__(self, total: Callable[[], int]) -> None:
        super().__init__()
        self._total = total
        self._operations: list[Operation] = []
        self._alive: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        before = self._total()
        result = func(*args, **(kwargs or {}))
        given, made = tree_leaves((args, kwargs)), tree_leaves(result)
        # An address is a name as long as nothing else can be put there.
        self._alive += [given, made]
        self._operations.append(
            Operation(
                _storages(given),
                _storages(made),
                self._total() - before,
                any(isinstance(each, Tensor) for each in made),
            )
        )
        return result

    def behind(self, tensor: Tensor) -> tuple[int, frozenset[int]]:
        """The cost of what the tensor was computed from, and the storages that were read for it.

        An operation that returns but a number counts, because Python may have decided by it what else is
        computed; so does one that returns nothing, because it changed something.
        """
        needed, cost = {storage(tensor)}, 0
        for operation in reversed(self._operations):
            if not operation.gives_tensor or operation.written & needed:
                needed |= operation.read
                cost += operation.cost
        return cost, frozenset(needed)


def storage(tensor: Tensor) -> int:
    """The address of a tensor's memory, which all of its views share."""
    return tensor.untyped_storage().data_ptr()


def _storages(values: list[Any]) -> frozenset[int]:
    return frozenset(storage(value) for value in values if isinstance(value, Tensor))
