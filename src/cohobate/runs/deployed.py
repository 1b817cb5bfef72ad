"""The network that a run deployed: its weights, and the facts in the header of its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..core import Shape
from ..engine.checkpoint import read_state
from ..engine.errors import RunError
from .layout import weights_file


class Deployed(NamedTuple):
    """A file of a deployed network.

    Attributes:
        path: of the file.
        tensors: the network's state dictionary.
        facts: content of the header: model, classes, normalisation.
    """

    path: Path
    tensors: dict[str, Tensor]
    facts: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The name of the run's network, by which it can be built; of a sum, that of its first member."""
        return str(self.facts["model"])

    @property
    def members(self) -> list[str]:
        """Names of the networks of which the deployed one is the sum; of a plain network only its own."""
        return list(self.facts.get("members", [self.model]))

    @property
    def found(self) -> Mapping[str, Any]:
        """What the plan of the run found out of these weights, such as the threshold of a cascade."""
        return self.facts.get("found", {})  # type: ignore[no-any-return]

    @property
    def classes(self) -> list[str]:
        """Names of the classes that it predicts."""
        return list(self.facts["classes"])

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, by which its images are normalised."""
        return self.facts["mean"], self.facts["std"]

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the images that it was made for; older files have a side in pixels."""
        if "shape" in self.facts:
            channels, height, width = self.facts["shape"]
            return channels, height, width
        return 3, self.facts["image_size"], self.facts["image_size"]


def facts_of(path: Path | str) -> Mapping[str, Any]:
    """The facts in the header of a file of weights: of a deployed network, else none."""
    path = Path(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        facts = read_state(path).facts
    except RunError:
        # A foreign file, or none: whoever loads the weights says what is wrong with it.
        return {}
    return facts if "classes" in facts else {}


def read_deployed(path: Path | str) -> Deployed:
    """Read a ``deployed*.safetensors`` file; of a run's folder the one of its last weights.

    Raises:
        RunError: the file is missing, truncated, or no network that can be built again from a name.
    """
    path = weights_file(path)
    tensors, facts = read_state(path)
    if "model" not in facts:
        raise RunError(f"{path} is a checkpoint of training; the network is deployed.safetensors of its run")
    if facts["model"] is None:
        raise RunError(
            f"{path} was trained from Python with a network of your own: build it, then "
            "cohobate.load_weights(network, path)"
        )
    return Deployed(path, tensors, facts)
