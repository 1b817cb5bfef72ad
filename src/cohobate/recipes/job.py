"""What a recipe is handed: networks for the data at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .objects import load_object
from .training import Training

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import nn

    from ..core import Frozen, Phase


@dataclass(frozen=True)
class Job:
    """One run's choices and its number of classes."""

    training: Training
    classes: int

    def build(self, name: str) -> nn.Module:
        """A fresh network: a name of :func:`cohobate.build`, or a function of the user's own.

        Raises:
            ValueError: an unknown name, or the user's function returns no module.
        """
        from torch import nn

        from ..models.build import build

        if ":" not in name:
            return build(name, self.classes, shortcut=self.training.shortcut)
        network = load_object(name)(self.classes)
        if not isinstance(network, nn.Module):
            raise ValueError(f"{name} returned {type(network).__name__}, not a torch.nn.Module")
        return network

    def network(self) -> nn.Module:
        """The network to train, with the weights of ``--init`` if that is given."""
        network = self.build(self.training.model)
        if self.training.init is not None:
            load_weights(network, self.training.init)
        return network

    def teacher(self) -> Generator[Phase, dict[str, Any], Frozen]:
        """The teacher, frozen; one given by a model's name is trained first.

        Raises:
            ValueError: no teacher was given, or it has other classes.
        """
        from ..core import Frozen, Phase
        from ..methods.supervised import Supervised

        spec = self.training.teacher
        if spec is None:
            raise ValueError(
                "this method needs a teacher: give --teacher a run folder, a .safetensors file, or the "
                "name of a model to train first (`cohobate list models`)"
            )
        if Path(spec).is_dir() or spec.endswith(".safetensors"):
            return Frozen(load(Path(spec), classes=self.classes), copy=False)
        network = self.build(spec)
        yield Phase("teacher", Supervised(network))
        return Frozen(network)


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
    path = path / "deployed.safetensors" if path.is_dir() else path
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
    training = Training(model=facts["model"], shortcut=facts["shortcut"])
    network = Job(training, len(facts["classes"])).build(facts["model"])
    network.load_state_dict(state.tensors)
    return network.eval()


def load_weights(network: nn.Module, path: Path | str) -> None:
    """Weights of a safetensors file into a network, every one of them.

    Raises:
        ValueError: names or shapes do not match; the message says which.
    """
    from ..engine.checkpoint import read_tensors

    tensors = read_tensors(Path(path))
    own = network.state_dict()
    wrong = {
        "missing in the file": [k for k in own if k not in tensors],
        "unknown to the network": [k for k in tensors if k not in own],
        "of another shape": [k for k in own if k in tensors and own[k].shape != tensors[k].shape],
    }
    if any(wrong.values()):
        listed = "; ".join(
            f"{len(keys)} {what} ({', '.join(keys[:3])})" for what, keys in wrong.items() if keys
        )
        raise ValueError(f"the weights of {path} do not fit {type(network).__name__}: {listed}")
    network.load_state_dict(tensors)
