"""What a deployed sum of networks predicts, stage by stage, on the images of a run and on its D_v."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core import as_output, match_classes, running_sums
from ..data.dataset import Dataset, Split
from ..engine.errors import RunError
from ..engine.evaluate import predictions
from ..recipes.energy import SHARE, energy_images
from ..runs.adaptive import ChosenOn
from .feeds import split_loader
from .subject import Opened


class Seen(NamedTuple):
    """What a sum predicts.

    Attributes:
        logits: (n + 1, N, K), of S_0, S_1 ... S_n, in the order of the data's classes.
        y: (N,), the labels.
    """

    logits: Tensor
    y: Tensor

    def accuracy(self, logits: Tensor) -> float:
        """That of logits of these images, (N, K), in percent."""
        return 100 * int((logits.argmax(dim=1) == self.y).sum()) / len(self.y)


class DV(NamedTuple):
    """D_v, the images on which the threshold is chosen.

    Attributes:
        images: with their data set, and the order in which its classes are among the network's logits.
        facts: for the record.
    """

    images: tuple[Split, Dataset, Sequence[int] | None]
    facts: ChosenOn


def members(network: nn.Module) -> list[nn.Module]:
    """S_0, R_1 ... R_n of a sum."""
    return list(network.get_submodule("networks").children())


def dv_of(of: Opened, dataset: Dataset) -> DV:
    """D_v of a run, as it recorded it, out of its images.

    Raises:
        ValueError: it is empty.
    """
    config = of.run.config
    split, share = config.get("energy_split", "train"), config.get("energy_share", SHARE)
    images = energy_images(dataset, split, share, of.config.seed)
    order = match_classes(of.deployed.classes, dataset.classes, f"the network of {of.run.folder}").order
    facts = ChosenOn(split=split, images=len(images), trained_on=split == "train")
    return DV((images, dataset, order), facts)


def predicted(
    network: nn.Module,
    of: Opened,
    images: Split,
    dataset: Dataset,
    order: Sequence[int] | None,
    device: torch.device,
) -> Seen:
    """The logits of every prefix of a sum, image by image."""

    def prefixes(x: Tensor) -> dict[str, Tensor]:
        sums = running_sums([as_output(member(x)).logits for member in members(network)])
        return {f"S_{i}": ordered(logits, order) for i, logits in enumerate(sums)}

    labels, found = [], []
    loader = split_loader(images, dataset, device, of.config.workers)
    for y, logits in predictions(prefixes, loader, device, of.config.precision):
        labels.append(y.cpu())
        found.append(torch.stack(list(logits.values())).float().cpu())
    whole = torch.cat(found, dim=1)
    if not whole.isfinite().all():
        raise RunError(
            f"the logits of {of.deployed.path} are not finite; train the run again with a lower lr, or with "
            "clip"
        )
    return Seen(whole, torch.cat(labels))


def ordered(logits: Tensor, order: Sequence[int] | None) -> Tensor:
    """Logits in the order of the data's classes."""
    return logits if order is None else logits[:, list(order)]
