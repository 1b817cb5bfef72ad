"""The networks, data and options of a run, for a recipe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..config.grammar import without
from ..config.groups import Training
from ..core import Frozen, Output, Shape
from ..data.dataset import Dataset
from ..models.checkpoints import load_weights
from ..models.surgery.probe import look
from . import teachers
from .networks import make_network


def _not_here(spec: str) -> nn.Module:
    raise ValueError(f"the teacher {spec} has no weights, and is not trained here")


@dataclass(frozen=True)
class Job:
    """The networks, data and options from which a method is made (:class:`cohobate.core.Given`).

    Attributes:
        training: the options of the run.
        dataset: its images, with the validation split held out.
        say: prints a line for the user.
        trained: name of a model -> this network, trained on these images by the baseline.
        first: a value -> the value of the first process.
        apart: a context in which random draws do not affect later ones.
    """

    training: Training
    dataset: Dataset
    say: Callable[[str], None] = lambda message: None
    trained: Callable[[str], nn.Module] = _not_here
    first: Callable[[float], float] = lambda value: value
    apart: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the images."""
        return self.dataset.shape

    def build(self, spec: str) -> nn.Module:
        """A network for this run's images; with ``:weights=FILE`` in its spec, one that is trained.

        Raises:
            ValueError: see :func:`cohobate.recipes.networks.make_network`.
        """
        spec, weights = without(spec, "weights")
        network = make_network(spec, self.classes, self.shape)
        for path in weights:
            self._load(network, path)
        return network

    def network(self) -> nn.Module:
        """The network to train, with the weights of ``--init`` if that is given."""
        network = self.build(self.training.model)
        if self.training.init is not None:
            self._load(network, self.training.init)
        return network

    def _load(self, network: nn.Module, path: Path | str) -> None:
        self.say(str(load_weights(network, path)))

    def look(self, network: nn.Module) -> Output:
        """The output of a network for two random images."""
        return look(network, self.shape).output

    def teacher(self) -> Frozen:
        """The teacher of the run, frozen (:func:`cohobate.recipes.teachers.teacher`)."""
        return teachers.teacher(self)
