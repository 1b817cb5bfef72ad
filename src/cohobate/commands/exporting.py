"""The network of a finished run that is to be exported, and the images on which the file is checked."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..analysis.cost import cost
from ..config.words import count
from ..core import Classifier
from ..data.dataset import Dataset, Split
from ..data.raw import pixels
from ..engine.errors import RunError
from ..inference.deployable import Deployable, Normalisation
from ..recipes.networks import rebuilt
from ..runs.exported import About
from ..runs.kept import load_kept
from .asked import Asked
from .rebuild import prepared_of, rebuild
from .subject import On, Opened, images_to_check, opened

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
    """Images on which files are checked.

    Attributes:
        images: uint8, (N, C, H, W).
        where: of which data and split, in words.
        real: whether they are images; else noise.
    """

    images: Tensor
    where: str
    real: bool = True


def source_of(asked: Asked) -> Source:
    """The predictor of a finished run that is asked for.

    Args:
        asked: checked before.

    Raises:
        RunError: the run was made from Python, or its file of weights is damaged.
    """
    weights, readout = asked.weights, asked.readout
    of = opened(asked.run, weights)
    epoch = of.run.outcome[weights]
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
        values=asked.values,
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
    again = rebuild(of.run.folder, prepared_of(of.run.folder))
    if epoch not in again.states:
        raise RunError(f"{of.run.folder} has no weights of the whole method after epoch {epoch} any more")
    load_kept(again.method, again.states[epoch])
    predictors = again.method.eval().predictors()
    return predictors[name]


def _errors(epoch: dict[str, Any], readout: str) -> dict[str, dict[str, float]]:
    """Split -> measure -> value of a read-out; lists are left out."""
    return {
        split: {
            name: value for name, value in epoch[split][readout].items() if isinstance(value, int | float)
        }
        for split in ("val", "test")
        if epoch.get(split) and readout in epoch[split]
    }


def images_of(source: Source, on: On, say: Callable[[str], None], limit: int = CHECKED) -> Seen | None:
    """Images of the run's data, evenly spaced in a split that it was measured on; None if they are not there.

    Args:
        source: the network.
        on: where they are now, or others.
        say: prints notes on the data.
        limit: how many at most.

    Raises:
        FileNotFoundError, ValueError: images that ``on`` names are not there, or of another size.
    """
    dataset = images_to_check(source.of, on, say)
    if dataset is None:
        return None
    name, split = measured_split(dataset)
    rows = torch.linspace(0, len(split) - 1, min(limit, len(split))).round().long().tolist()
    return Seen(pixels(split, rows), f"{dataset.name}, {name} split")


def seen_by(source: Source, on: On, say: Callable[[str], None]) -> Seen:
    """The images on which files are checked: real ones; noise, and a note, where there are none."""
    about = source.about
    seen = images_of(source, on, say)
    if seen is not None:
        say(f"checked on {seen.where}")
        return seen
    say(
        f"note: the images of the run ({about.data}) are not there, or are others by now, so the files are "
        f"checked on {count(CHECKED, 'image')} of noise; --data-root and --data say where there are images"
    )
    noise = Deployable(source.network, Normalisation(about.mean, about.std), "0-255")
    return Seen(noise.example(CHECKED, about.shape), "noise", real=False)


def measured_split(dataset: Dataset) -> tuple[str, Split]:
    """The validation split, else the test split, else the training split; and its name."""
    if dataset.val is not None:
        return "val", dataset.val
    return ("test", dataset.test()) if dataset.test is not None else ("train", dataset.train)
