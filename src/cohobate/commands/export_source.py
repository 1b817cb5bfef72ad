"""The network of a finished run that is to be exported, and the images on which the file is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..analysis.cost import cost
from ..config.words import count
from ..core import Classifier
from ..data.dataset import Dataset, Split
from ..data.raw import pixels, spread
from ..data.views import shown_fit
from ..engine.checkpoint import weights_digest
from ..inference.deployable import noise
from ..recipes.networks import rebuilt
from ..runs.exported import About
from ..runs.names import data_words
from .export_options import Asked
from .feeds import LOGITS
from .readouts import named, of_method, of_user
from .subject import On, Opened, images_to_check, opened, opened_for

CHECKED = 256
"""Images on which a file is compared with its original, at most."""
PIXELS = 2**21
"""The same of pixels, where each has a class; fewer of many classes, as all logits are in memory at once."""


class Source(NamedTuple):
    """What is exported.

    Attributes:
        network: normalised images (B, C, H, W) -> logits, (B, K) or (B, K, H, W); in evaluation mode, on the
            CPU.
        about: the metadata of its files.
        of: the run.
        found: what the plan of the run found out of this network, such as the threshold of a cascade.
    """

    network: nn.Module
    about: About
    of: Opened
    found: Mapping[str, Any] = {}


class Seen(NamedTuple):
    """Images on which files are checked.

    Attributes:
        images: uint8, (N, C, H, W).
        where: of which data and split, in words.
        dataset: that they are from; None of noise.
    """

    images: Tensor
    where: str
    dataset: Dataset | None = None


def source_of(asked: Asked) -> Source:
    """The predictor of a finished run that is asked for.

    Args:
        asked: checked before.

    Raises:
        RunError: a file of weights is damaged, or gone.
        FileNotFoundError: the images of the run are gone, and it is a predictor that is not deployed.
        ValueError: the weights do not fit the user's network; or a predictor that is no network by name
            shall be written as weights alone.
    """
    open_ = opened if asked.network is None else opened_for
    of = open_(asked.command.run, asked.command.weights)
    network, members = _network(asked, of)
    if "safetensors" in asked.command.format and not members and asked.network is None:
        raise ValueError(
            f"the read-out {asked.command.readout!r} of {asked.command.run} is no network that can be built "
            "again from its name, so its weights alone (safetensors) would be of no use: export it as onnx "
            "or pt2"
        )
    about = _about(asked, of, network, members)
    found = of.deployed.found if about.readout == of.run.outcome["predictor"] else {}
    return Source(network, about, of, found)


def _network(asked: Asked, of: Opened) -> tuple[nn.Module, tuple[str, ...]]:
    """The predictor in evaluation mode, and the models of which it is the sum; none where it has no names."""
    if asked.network is not None:
        return of_user(asked.network, of.deployed).eval(), ()
    if asked.command.readout in (None, of.run.outcome["predictor"]):
        return Classifier(rebuilt(of.deployed)).eval(), tuple(of.deployed.members)
    epoch = of.run.outcome[asked.command.weights]["epoch"]
    network = of_method(of, str(asked.command.readout), epoch, asked.on).eval()
    return network, named(network, of.deployed)


def _about(asked: Asked, of: Opened, network: nn.Module, members: tuple[str, ...]) -> About:
    epoch = of.run.outcome[asked.command.weights]
    spent, facts = cost(network, of.deployed.shape), of.deployed.facts
    readout = asked.command.readout or str(of.run.outcome["predictor"])
    return About(
        classes=tuple(of.deployed.classes),
        shape=of.deployed.shape,
        task=of.deployed.task,
        mean=tuple(of.deployed.statistics[0]),
        std=tuple(of.deployed.statistics[1]),
        values=asked.command.values,
        fit=shown_fit(facts.get("fit", "crop"), of.deployed.task),
        background=facts.get("background", "white"),
        eval_resize=facts.get("eval_resize"),
        averaged_from=facts.get("averaged_from"),
        model=members[0] if members else None,
        members=members if len(members) > 1 else (),
        readout=readout,
        method=of.run.method,
        label=of.run.name,
        seed=of.config.seed,
        weights=asked.command.weights,
        epoch=epoch["epoch"],
        data=data_words(of.config.data, of.config.image_size),
        data_fingerprint=of.run.provenance.get("data_fingerprint", ""),
        errors=_errors(epoch, readout),
        parameters=spent.parameters,
        macs=spent.macs,
        precision=of.config.precision,
        cohobate=version("cohobate"),
        torch=torch.__version__,
        weights_digest=weights_digest(network.state_dict()),
    )


def _errors(epoch: dict[str, Any], readout: str) -> dict[str, dict[str, float]]:
    """Split -> measure -> value of a read-out; lists are left out."""
    return {
        split: {
            name: value for name, value in epoch[split][readout].items() if isinstance(value, int | float)
        }
        for split in ("val", "test")
        if epoch.get(split) and readout in epoch[split]
    }


def checked_at_most(about: About) -> int:
    """Images on which a file of this network is compared with its original."""
    if about.task == "classification":
        return CHECKED
    _, height, width = about.shape
    most = min(PIXELS, LOGITS // len(about.classes))
    return min(CHECKED, max(2, most // (height * width)))


def images_of(source: Source, on: On, say: Callable[[str], None]) -> Seen | None:
    """Images of the run's data, evenly spaced in a split that it was measured on; None if they are not there.

    Args:
        source: the network.
        on: where they are now, or others.
        say: prints notes on the data.

    Raises:
        FileNotFoundError, ValueError: images that ``on`` names are not there, or of another size.
    """
    dataset = images_to_check(source.of, on, say)
    if dataset is None:
        return None
    name, split = checking_split(dataset)
    shown = pixels(split, spread(len(split), checked_at_most(source.about)))
    return Seen(shown, f"{dataset.name}, {name} split", dataset=dataset)


def seen_by(source: Source, on: On, say: Callable[[str], None]) -> Seen:
    """The images on which files are checked: real ones; noise, and a note, where there are none."""
    about, number = source.about, checked_at_most(source.about)
    seen = images_of(source, on, say)
    if seen is not None:
        return seen
    say(
        f"note: the images of the run ({about.data}) are not there, or are others by now, so the files are "
        f"checked on {count(number, 'image')} of noise; --data-root and --data say where there are images"
    )
    return Seen(noise(number, about.shape), "noise")


def checking_split(dataset: Dataset) -> tuple[str, Split]:
    """The validation split, else the test split, else the training split; and its name."""
    if dataset.val is not None:
        return "val", dataset.val
    return ("test", dataset.test()) if dataset.test is not None else ("train", dataset.train)
