"""The images that a plan trains on, and the measures of predictions on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from ..config.groups import Settings
from ..core import Batch, Loader, Method
from .evaluate import Measures


class Feeds(NamedTuple):
    """The images of a run, and the measures of its task.

    Attributes:
        train: a phase's method and settings -> its loader.
        measures: of predictions on ``val``, ``test`` and ``plain_train``.
        val: the validation split, or None.
        test: reads the test split; None if there is none.
        plain_train: reads the training images without augmentation, for ``log_train``.
    """

    train: Callable[[Method, Settings], Loader]
    measures: Measures
    val: Loader | None = None
    test: Callable[[], Loader] | None = None
    plain_train: Callable[[], Loader] | None = None

    def to_measure(self, settings: Settings) -> dict[str, Loader]:
        """The splits that are measured after each epoch: name -> loader."""
        loaders = {"val": self.val}
        if settings.log_test and self.test is not None:
            loaders["test"] = self.test()
        if settings.log_train and self.plain_train is not None:
            loaders["train"] = self.plain_train()
        return {split: loader for split, loader in loaders.items() if loader is not None}


def updates(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of ``size`` micro-batches, one list for each update."""
    while group := list(islice(batches, size)):
        yield group
