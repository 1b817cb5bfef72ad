"""Loss terms between networks, methods that train networks, and plans of one or more phases."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .batch import Batch
from .networks import Frozen, Output

Shape = tuple[int, int, int]
"""(C, H, W) of an image."""


Taps = Literal["stages", "benchmark"]
"""Which feature maps are a network's stages: this library's, or those of the public CIFAR-100 benchmark."""


class Given(Protocol):
    """The networks and sizes of a run, from which its method is made.

    Attributes:
        shape: (C, H, W) of the images.
        classes: K.
    """

    @property
    def shape(self) -> Shape: ...

    @property
    def classes(self) -> int: ...

    def network(self) -> nn.Module:
        """The network to train, fresh or with the weights that the run begins from."""

    def teacher(self) -> Frozen:
        """The teacher of the run."""

    def look(self, network: nn.Module) -> Output:
        """The output of a network for two random images of this shape."""


class Between(Protocol):
    """A student and a teacher, and the labels of their images, for which a term is made.

    Attributes:
        student, teacher: outputs of the networks for two random images.
        labels: (N,) ids of the training images; none of pictures with masks.
        taps: which feature maps of both networks are their stages.
    """

    @property
    def taps(self) -> Taps: ...

    @property
    def student(self) -> Output: ...

    @property
    def teacher(self) -> Output: ...

    @property
    def labels(self) -> Tensor: ...

    def teacher_norms(self) -> list[_BatchNorm]:
        """The batch norm that ends each stage of the teacher."""


class Term(nn.Module):
    """A loss between two outputs: ``term(student, teacher, batch) -> ()``, to be scaled by ``weight``.

    A term may own regressors or memory banks. No gradient enters ``teacher``.

    Attributes:
        weight: factor of the term.
        logits_only: whether the term uses no output of the teacher but the logits, so that stored
            logits are enough.
        reads_labels: whether it uses the labels of the batch; a term that does not can learn from unlabelled
            images alone, and says so by False.
        remembers: number of training images in its memory bank; None if it has none.
        ce_weight: weight of the cross-entropy in the term's reference setting.
        reads_preacts: whether the term reads stages before their last ReLU, ``Output.preacts``.
    """

    ce_weight: ClassVar[float] = 1.0
    reads_preacts: ClassVar[bool] = False

    weight: float = 1.0
    logits_only: bool = False
    reads_labels: bool = True
    remembers: int | None = None

    @classmethod
    def between(cls, networks: Between, **options: Any) -> Self:
        """The term for two networks; a class that needs their sizes overrides this.

        Raises:
            ValueError: an option is out of range, or a network lacks what the term reads.
        """
        return cls(**options)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}.forward")


class Method(nn.Module):
    """A way to train one or more networks: holds them, and computes named loss terms.

    ``forward(batch, turn)`` returns the terms already weighted; the training loss is their plain sum.

    Attributes:
        second_view: what ``batch.views[1]`` must be: another augmentation of the same image, or
            another image of its class; None for one view.
        turns: optimizer steps of one update.
        rests: whether a step may leave a parameter without a gradient.
        peer_readouts: names of the read-outs that learn side by side: the mean of their errors is
            measured, and how much they agree.
    """

    second_view: Literal["augmentation", "classmate"] | None = None
    turns: int = 1
    rests: bool = False
    peer_readouts: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Given, **options: Any) -> Self:
        """The method for a run's networks; a class whose constructor takes more than these overrides this.

        The constructor's parameters ``network`` or ``student``, and ``teacher``, are networks.

        Raises:
            ValueError: an option is out of range, or a network lacks what the method reads.
        """
        wanted = inspect.signature(cls).parameters
        # The teacher first: its draws of weights, if any, come before those of the network.
        networks: dict[str, nn.Module] = {"teacher": given.teacher()} if "teacher" in wanted else {}
        networks |= {name: given.network() for name in ("network", "student") if name in wanted}
        return cls(**networks, **options)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__}.forward")

    @property
    def computed(self) -> dict[str, float]:
        """Options that were not given and for which the method computed a value: a run records it."""
        return {}

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Named groups of parameters that a recipe may give rates of their own."""
        return {"networks": [p for p in self.parameters() if p.requires_grad]}

    def predictors(self) -> dict[str, nn.Module]:
        """Plain modules, images -> logits; the first is the one deployed."""
        raise NotImplementedError(f"{type(self).__name__}.predictors")

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every predictor, for validation; shared layers are computed once."""
        raise NotImplementedError(f"{type(self).__name__}.readouts")

    @property
    def reads_logits_of(self) -> Frozen | None:
        """The frozen teacher of which the method uses ``teacher(batch.x).logits`` and nothing else.

        These logits may then be stored, and passed as ``batch.taught``. None: there is no such teacher.
        """
        return None

    @property
    def label_readers(self) -> tuple[str, ...]:
        """What in the method uses the labels of a batch, in words; none: it learns from images alone."""
        return (type(self).__name__,)

    def after_step(self) -> None:
        """Called once after each update."""


def with_cross_entropy(option: str, weight: float, terms: Iterable[nn.Module] = ()) -> tuple[str, ...]:
    """Who reads labels beside a cross-entropy of this weight, for :attr:`Method.label_readers`.

    Args:
        option: sets the weight.
        weight: of the cross-entropy; of weight 0 it reads none.
        terms: each reads labels unless it says otherwise.
    """
    own = (f"the cross-entropy ({option} {weight:g})",) if weight else ()
    readers = (type(term).__name__ for term in terms if getattr(term, "reads_labels", True))
    return (*own, *dict.fromkeys(readers))


class Phase(NamedTuple):
    """One step of a plan: train ``method`` under the run's settings, overridden by ``settings``."""

    name: str
    method: Method
    settings: Mapping[str, Any] = {}


class Ending(NamedTuple):
    """What a plan that has ended adds to the records of its run.

    Attributes:
        members: specs of the networks whose sum (:class:`cohobate.core.Sum`) is deployed, in order; none: the
            run's network is deployed.
        found: facts that the plan found out, of the networks with their last weights: plain numbers, texts,
            lists and mappings.
    """

    members: tuple[str, ...] = ()
    found: Mapping[str, Any] = {}


Plan = Generator[Phase, dict[str, Any], Any]
"""A generator of phases; the engine sends it the measurements of the phase that has ended.

It returns an :class:`Ending`, or nothing.
"""
