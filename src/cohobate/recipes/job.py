"""The networks, data and options of a run, for a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ..config.grammar import without
from ..config.groups import Training
from ..config.groups.network import renamed
from ..core import Frozen, Output, Shape, match_classes
from ..data.dataset import Dataset, Split
from ..models.checkpoints import load_weights
from ..models.surgery.probe import look
from ..models.surgery.reorder import reorder_head
from ..runs.deployed import facts_of
from ..runs.layout import weights_file
from . import teachers
from .networks import make_network

OTHER_NAMES = (
    "; classes that were only renamed: --renamed-classes OLD=NEW,...; --match-classes by_position takes "
    "them as they stand"
)


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
        logits: a network and images -> the network's logits, (N, K), float32, on the CPU; None where nothing
            is measured, as in the check before a run.
    """

    training: Training
    dataset: Dataset
    say: Callable[[str], None] = lambda message: None
    trained: Callable[[str], nn.Module] = _not_here
    first: Callable[[float], float] = lambda value: value
    apart: Callable[[], AbstractContextManager[None]] = nullcontext
    logits: Callable[[nn.Module, Split], Tensor | None] = lambda network, images: None

    @property
    def classes(self) -> int:
        return len(self.dataset.classes)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the images."""
        return self.dataset.shape

    def build(self, spec: str, shape: Shape | None = None) -> nn.Module:
        """A network for this run's images; with ``:weights=FILE`` in its spec, one that is trained.

        Args:
            spec: of the network.
            shape: (C, H, W) of other images that it is for.

        Raises:
            ValueError: see :func:`cohobate.recipes.networks.make_network`; or weights for other classes.
        """
        spec, weights = without(spec, "weights")
        network = make_network(spec, self.classes, shape or self.shape, self.dataset.task)
        for path in weights:
            self._load(network, weights_file(path), shape or self.shape)
        return network

    def network(self) -> nn.Module:
        """The network to train, with the weights of ``--init`` if that is given."""
        network = self.build(self.training.model)
        if self.training.init is not None:
            self._load(network, weights_file(self.training.init), self.shape)
        return network

    def order(self, theirs: Sequence[str] | None, who: str) -> tuple[int, ...] | None:
        """The order of a network's classes for this run's data (:func:`cohobate.core.match_classes`).

        What there is to say about it is said.

        Raises:
            ValueError: classes of other names.
        """
        training = self.training
        matching = match_classes(
            theirs,
            self.dataset.classes,
            who,
            by_position=training.match_classes == "by_position",
            renamed=renamed(training.renamed_classes),
            remedy=OTHER_NAMES,
        )
        if matching.note is not None:
            self.say(f"note: {matching.note}")
        return matching.order

    def _load(self, network: nn.Module, path: Path, shape: Shape) -> None:
        facts = facts_of(path)
        if "members" in facts:
            raise ValueError(
                f"{path} is the sum of {' + '.join(facts['members'])}, not the weights of one network; a "
                f"teacher may be such a sum (--teacher {path}), and cohobate.load({str(path)!r}) builds it"
            )
        self.say(str(load_weights(network, path)))
        order = self.order(facts.get("classes"), f"the network of {path}")
        if order is not None and not reorder_head(network, order, shape):
            raise ValueError(
                f"the classes of {path} stand in another order than those of the data, and no single layer "
                f"of {type(network).__name__} gives the logits, whose rows could be put in order"
            )

    def look(self, network: nn.Module) -> Output:
        """The output of a network for two random images."""
        return look(network, self.shape).output

    def teacher(self) -> Frozen:
        """The teacher of the run, frozen (:func:`cohobate.recipes.teachers.teacher`)."""
        return teachers.teacher(self)
