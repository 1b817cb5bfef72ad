"""An ONNX file in 8-bit integers measured beside the one in floats, on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import Batch, Loader
from ..data.dataset import Dataset, Split, labelled
from ..data.raw import pixels
from ..engine.errors import RunError
from ..engine.measures.segmentation import SEGMENTATION
from ..inference.onnx_network import OnnxNetwork
from ..runs.exported import About
from .bar import Bar
from .feeds import split_loader
from .prefixes import ordered
from .ready_onnx import on_bytes

BATCH = 50
"""Images of a batch that is measured, where each has one label."""


class Measured(NamedTuple):
    """What files are measured on.

    Attributes:
        split: the images.
        dataset: that they are from.
        about: the network.
        order: for each class of the data, the position of its logit; None: as they stand.
    """

    split: Split
    dataset: Dataset
    about: About
    order: tuple[int, ...] | None


def errors(files: Mapping[str, bytes], on: Measured) -> dict[str, Any]:
    """Top-1 errors in percent, and for how many images the labels differ: fields of an Int8.

    Raises:
        RunError: a logit is not finite.
    """
    predicted = _predicted(files, on)
    return {
        "error": _error(predicted["int8"], on),
        "float_error": _error(predicted["floats"], on),
        "other_labels": int((predicted["int8"] != predicted["floats"]).sum()),
    }


def _predicted(files: Mapping[str, bytes], on: Measured) -> dict[str, Tensor]:
    """Name -> the classes that a file predicts, (N,), as positions of its logits.

    Raises:
        RunError: a logit is not finite.
    """
    networks = {name: on_bytes(OnnxNetwork(data), on.about) for name, data in files.items()}
    found: dict[str, list[Tensor]] = {name: [] for name in files}
    split = on.split
    with Bar("images of int8 beside floats", len(split)) as bar:
        for batch in torch.arange(len(split)).split(BATCH):
            images = pixels(split, batch.tolist())
            for name, network in networks.items():
                logits = network(images)
                if not logits.isfinite().all():
                    raise RunError(f"logits of the ONNX file in {name} are not finite; nothing was written")
                found[name].append(logits.argmax(dim=1))
            bar.reach(int(batch[-1]) + 1)
    return {name: torch.cat(each) for name, each in found.items()}


def _error(predicted: Tensor, on: Measured) -> float:
    """Top-1 error in percent."""
    y = labelled(on.split, "the error in 8 bits").y
    y = y if on.order is None else torch.tensor(on.order)[y]
    return 100 * int((predicted != y).sum()) / len(y)


# ---------------------------------------------------------------- classes of pixels


def mious(files: Mapping[str, bytes], on: Measured) -> dict[str, Any]:
    """Mean intersections over union in percent, and for how many pixels of the images the classes differ.

    Raises:
        RunError: a logit is not finite.
    """
    networks = {name: on_bytes(OnnxNetwork(data), on.about) for name, data in files.items()}
    other = 0

    def answers(images: Tensor) -> dict[str, Tensor]:
        nonlocal other
        each = {name: _finite(network(images), name) for name, network in networks.items()}
        logits = {name: ordered(values, on.order) for name, values in each.items()}
        one, two = (values.argmax(dim=1) for values in logits.values())
        other += int((one != two).sum())
        return logits

    cpu = torch.device("cpu")
    with Bar("images of int8 beside floats", len(on.split)) as bar:
        loader = InBytes(split_loader(on.split, on.dataset, cpu, 0), on.split, bar.reach)
        found = SEGMENTATION.evaluate(answers, loader, cpu)
    return {"miou": found["int8"]["miou"], "float_miou": found["floats"]["miou"], "other_labels": other}


def _finite(logits: Tensor, name: str) -> Tensor:
    if not logits.isfinite().all():
        raise RunError(f"logits of the ONNX file in {name} are not finite; nothing was written")
    return logits


class InBytes:
    """The batches of a loader of evaluation, their images in bytes, uint8 (B, C, H, W).

    Args:
        loader: of all images of a split, with their rows.
        split: the images.
        reach: is told how many are read.
    """

    def __init__(self, loader: Loader, split: Split, reach: Callable[[int], None]) -> None:
        self._loader, self._split, self._reach = loader, split, reach

    def __len__(self) -> int:
        return len(self._loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """As the loader's."""
        for batch in self._loader.epoch(epoch, start):
            rows = batch.rows("int8").tolist()
            yield batch._replace(views=(pixels(self._split, rows),))
            self._reach(rows[-1] + 1)
