"""The network of a finished run that is to be exported, and the images on which the file is checked."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..analysis.cost import cost
from ..config.forms import Values
from ..core import Classifier
from ..data.dataset import Dataset, Split
from ..data.raw import pixels
from ..engine.errors import RunError
from ..recipes.networks import rebuilt
from ..runs.exported import About
from ..runs.kept import load_kept
from ..runs.layout import RunFolder
from ..runs.reading import Run
from .rebuild import prepared_of, rebuild
from .subject import Opened, Weights, opened, own_images

CHECKED = 256
"""Images on which a file is compared with its original, at most."""


class Source(NamedTuple):
    """What is exported.

    Attributes:
        network: normalised images (B, C, H, W) -> logits (B, K); in evaluation mode, on the CPU.
        about: the metadata of its files.
        of: the run.
    """

    network: nn.Module
    about: About
    of: Opened


class Seen(NamedTuple):
    """Real images.

    Attributes:
        images: uint8, (N, C, H, W).
        where: of which data and split, in words.
    """

    images: Tensor
    where: str


def source_of(path: Path, weights: Weights, readout: str | None, values: Values) -> Source:
    """A predictor of a finished run.

    Args:
        path: the run's folder.
        weights: of the last epoch, or of the best one on the validation split.
        readout: name of a predictor of its method; by default the deployed one.
        values: that the images of the file shall have.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: not a run folder, or no such predictor (the message has those that there are).
        RunError: the run has not finished, or was made from Python.
    """
    of = opened(path, weights)
    epoch = of.run.outcome[weights]
    if epoch is None:
        raise RunError(f"{path} has no best weights, since it has no validation split; give --weights last")
    deployed = str(of.run.outcome["predictor"])
    plain = readout in (None, deployed)
    network = Classifier(rebuilt(of.deployed)) if plain else _predictor(of, str(readout), epoch["epoch"])
    spent = cost(network, of.deployed.shape)
    facts = of.deployed.facts
    about = About(
        classes=tuple(of.deployed.classes),
        shape=of.deployed.shape,
        mean=tuple(of.deployed.statistics[0]),
        std=tuple(of.deployed.statistics[1]),
        values=values,
        fit=facts.get("fit", "crop"),
        background=facts.get("background", "white"),
        model=of.deployed.model if plain else None,
        members=tuple(of.deployed.members) if plain and len(of.deployed.members) > 1 else (),
        readout=readout or deployed,
        method=of.run.method,
        label=of.run.name,
        seed=of.config.seed,
        weights=weights,
        epoch=epoch["epoch"],
        data=of.config.data,
        data_fingerprint=of.run.provenance.get("data_fingerprint", ""),
        errors=_errors(epoch, readout or deployed),
        parameters=spent.parameters,
        macs=spent.macs,
        precision=of.config.precision,
        cohobate=version("cohobate"),
        torch=torch.__version__,
    )
    return Source(network.eval(), about, of)


def _predictor(of: Opened, name: str, epoch: int) -> nn.Module:
    """A predictor of the method that is not deployed, with its weights after an epoch."""
    known = list(_readouts(of.run))
    if name not in known:
        raise ValueError(f"{of.run.folder} has no read-out {name!r}; it has {', '.join(known)}")
    again = rebuild(of.run.folder, prepared_of(of.run.folder))
    if epoch not in again.states:
        raise RunError(f"{of.run.folder} has no weights of the whole method after epoch {epoch} any more")
    load_kept(again.method, again.states[epoch])
    predictors = again.method.eval().predictors()
    return predictors[name]


def _readouts(run: Run) -> dict[str, Any]:
    return run.outcome.get("readouts", {run.outcome["predictor"]: None})  # type: ignore[no-any-return]


def _errors(epoch: dict[str, Any], readout: str) -> dict[str, dict[str, float]]:
    """Split -> measure -> value of a read-out; lists are left out."""
    return {
        split: {
            name: value for name, value in epoch[split][readout].items() if isinstance(value, int | float)
        }
        for split in ("val", "test")
        if epoch.get(split) and readout in epoch[split]
    }


def images_of(source: Source, say: Callable[[str], None], limit: int = CHECKED) -> Seen | None:
    """Images of the run's data, evenly spaced in a split that it was measured on; None if they are not there.

    Args:
        source: the network.
        say: prints notes on the data.
        limit: how many at most.

    """
    dataset = own_images(source.of, say)
    if dataset is None:
        return None
    name, split = measured_split(dataset)
    rows = torch.linspace(0, len(split) - 1, min(limit, len(split))).round().long().tolist()
    return Seen(pixels(split, rows), f"{dataset.name}, {name} split")


def measured_split(dataset: Dataset) -> tuple[str, Split]:
    """The validation split, else the test split, else the training split; and its name."""
    if dataset.val is not None:
        return "val", dataset.val
    return ("test", dataset.test()) if dataset.test is not None else ("train", dataset.train)


def export_folder(path: Path, out: Path | None) -> Path:
    """Where an export goes: by default the folder ``export`` of the run."""
    return RunFolder(path).export if out is None else out
