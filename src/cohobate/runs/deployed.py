"""The network that a run deployed: its weights, and the facts in the header of its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from torch import Tensor

from ..core import Shape, Task
from ..engine.checkpoint import State, read_state, write_state
from ..engine.errors import RunError
from .adaptive import Reading, from_record, to_record
from .layout import weights_file

READINGS = get_args(Reading)


class StoredThreshold(NamedTuple):
    """The threshold of a cascade, in the header of a deployed network's file.

    Attributes:
        threshold: an energy, or math.inf.
        energy: the reading that it was chosen for; None: that of the plan, which is good for both.
        rule: by which it was chosen, in words; None: by eq. 10 of ResKD, by the plan.
    """

    threshold: float
    energy: str | None
    rule: str | None

    def __str__(self) -> str:
        return f"{to_record(self.threshold)} ({self.rule or BY_PLAN}, energy {self.energy or READINGS[0]})"


BY_PLAN = "the mean energy of the full sum over D_v when the run ended, eq. 10"


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
        return list(self.facts.get("members") or [self.model])

    @property
    def found(self) -> Mapping[str, Any]:
        """What the plan of the run found out of these weights, such as the threshold of a cascade."""
        return self.facts.get("found", {})  # type: ignore[no-any-return]

    @property
    def threshold(self) -> StoredThreshold | None:
        """That of a cascade of its members, as it is stored; None if none is.

        Raises:
            RunError: what is stored is no threshold.
        """
        if "threshold" not in self.found:
            return None
        value = from_record(self.found["threshold"])
        energy, rule = self.found.get("threshold_energy"), self.found.get("threshold_rule")
        if not isinstance(value, float | int) or not value >= 0 or energy not in (None, *READINGS):
            raise RunError(
                f"{self.path} stores {self.found['threshold']!r} as the threshold of a cascade, with the "
                f"energy {energy!r}, which it cannot be; restore the file, or train the run again"
            )
        return StoredThreshold(float(value), energy, rule)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that it predicts."""
        return list(self.facts["classes"])

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, by which its images are normalised."""
        return self.facts["mean"], self.facts["std"]

    @property
    def task(self) -> Task:
        """What it predicts; files without it are older than segmentation."""
        return self.facts.get("task", "classification")  # type: ignore[no-any-return]

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
    if facts["model"] is None and facts.get("readout"):
        raise RunError(
            f"{path} holds the weights of {facts['readout']}, a predictor that no name builds again: export "
            "it to ONNX, or build it, then cohobate.load_weights(network, path)"
        )
    if facts["model"] is None:
        raise RunError(
            f"{path} was trained from Python with a network of your own: build it, then "
            "cohobate.load_weights(network, path)"
        )
    return Deployed(path, tensors, facts)


def store_threshold(deployed: Deployed, stored: StoredThreshold) -> None:
    """Write a threshold into the header of a deployed network's file; its tensors keep their bits.

    The file is replaced whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    found = {
        **deployed.found,
        "threshold": to_record(stored.threshold),
        "threshold_rule": stored.rule,
        "threshold_energy": stored.energy,
    }
    write_state(deployed.path, State(deployed.tensors, {**deployed.facts, "found": found}))
