"""What a recipe is handed: networks for the data at hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.grammar import without
from ..config.groups import Training
from ..config.objects import load_object
from ..runs.layout import RunFolder

if TYPE_CHECKING:
    from torch import nn

    from ..core import Frozen, Output, Shape
    from ..data.dataset import Dataset


def _not_here(spec: str) -> nn.Module:
    raise ValueError(f"the teacher {spec} has no weights, and is not trained here")


@dataclass(frozen=True)
class Job:
    """What a method is made from (:class:`cohobate.core.Given`).

    Attributes:
        training: the options of the run.
        dataset: its images, divided.
        say: prints a line for the user.
        trained: a network by name that has learned plainly from these images.
    """

    training: Training
    dataset: Dataset
    say: Callable[[str], None] = lambda message: None
    trained: Callable[[str], nn.Module] = _not_here

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
            ValueError: see :func:`make_network`.
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
        from ..models.checkpoints import load_weights

        self.say(str(load_weights(network, path)))

    def look(self, network: nn.Module) -> Output:
        """What a network returns for two of the images."""
        from ..models.surgery.probe import look

        return look(network, self.shape).output

    def teacher(self) -> Frozen:
        """The teacher of the run, frozen (:func:`cohobate.recipes.teachers.teacher`)."""
        from .teachers import teacher

        return teacher(self)


def make_network(spec: str, classes: int, shape: Shape) -> nn.Module:
    """A network by name, or by a function of the user's own (``file.py:function:option=value``).

    A user's network that returns plain logits is adapted: its stages are found, its residual blocks
    gated (:func:`cohobate.adapt`).

    Raises:
        ValueError: an unknown name or option; the user's function returns no module; images that the
            network cannot take, or other classes than the data has.
    """
    from ..models.build import build
    from ..models.registry import is_known, parse
    from ..models.surgery.adapt import adapt
    from ..models.surgery.probe import look

    name, options = parse(spec)
    if is_known(name):
        network = build(spec, classes, shape=shape)
    else:
        network = adapt(_of_user(name, classes, options), shape=shape)
    predicted = look(network, shape).output.logits.shape[1]
    if predicted != classes:
        raise ValueError(f"{spec} predicts {predicted} classes, the data has {classes}")
    return network


def _of_user(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    from torch import nn

    make = load_object(name)
    try:
        inspect.signature(make).bind(classes, **options)
    except TypeError as error:
        raise ValueError(f"{name} cannot be called with {classes} and {options}: {error}") from error
    network = make(classes, **options)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name} returned {type(network).__name__}, not a torch.nn.Module")
    return network


def load(path: Path | str, classes: int | None = None) -> nn.Module:
    """The network that a run deployed, ready to predict (evaluation mode).

    Args:
        path: a run folder (its last weights) or a ``deployed*.safetensors`` file.
        classes: refuse a network that predicts another number of classes.

    Raises:
        RunError: the file is missing, cut, or no deployed network.
        ValueError: other classes than asked for.
    """
    from ..engine.checkpoint import read_state
    from ..engine.errors import RunError

    path = Path(path)
    path = RunFolder(path).deployed if path.is_dir() else path
    state = read_state(path)
    facts = state.facts
    if "model" not in facts:
        raise RunError(f"{path} is a checkpoint of training; the network is deployed.safetensors of its run")
    if facts["model"] is None:
        raise RunError(
            f"{path} was trained from Python with a network of your own: build it, then "
            "cohobate.load_weights(network, path)"
        )
    if classes is not None and len(facts["classes"]) != classes:
        raise ValueError(f"{path} predicts {len(facts['classes'])} classes, the data has {classes}")
    spec, _ = without(facts["model"], "weights", "pretrained")
    network = make_network(spec, len(facts["classes"]), shape_of(facts))
    network.load_state_dict(state.tensors)
    return network.eval()


def shape_of(facts: Mapping[str, Any]) -> Shape:
    """(C, H, W) of the images that a deployed network was made for; files of before have a side in pixels."""
    if "shape" in facts:
        channels, height, width = facts["shape"]
        return channels, height, width
    return 3, facts["image_size"], facts["image_size"]
