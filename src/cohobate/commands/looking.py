"""Attention maps of a run's networks at the epochs whose weights were stored.

FRSKD (Ji et al., CVPR 2021), figures 3 and 5. It works for every method. The rows are its predictors that
return stages; the output of its submodule named ``self_teacher``, if it has one, for the stages of the first
predictor; and its frozen teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ..analysis.attention import concentration, pooled
from ..config.groups import Training
from ..core import Batch, Classifier, Frozen, Method, Output, as_output
from ..data.dataset import Dataset, Labelled, Split
from ..data.raw import spread
from ..data.scenes import Scenes
from ..engine import distributed
from ..engine.checkpoint import write_bytes
from ..engine.evaluate import evaluating
from ..report.figures.attention_picture import draw
from ..report.tables.attention import Attention, Look, to_csv, to_npz
from ..runs.kept import load_kept, wanted_states
from ..runs.names import data_words
from .feeds import split_loader
from .rebuild import prepared_of, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 3
"""Number of images shown by default."""
MEASURED = 500
"""Largest number of images, evenly spaced in the split, over which the concentration is averaged."""
NAMES = {"network": "classifier", "self_teacher": "self-teacher"}


def attention_of_run(
    folder: Path,
    epochs: Sequence[int] = (),
    *,
    images: int | None = None,
    rows: Sequence[int] = (),
    split: Literal["val", "test"] = "val",
    say: Callable[[str], None] = lambda message: None,
) -> Attention:
    """Attention maps of a run's networks, and how concentrated they are.

    Args:
        folder: of the run, finished or not.
        epochs: load the weights of these; by default all of ``keep_epochs``, or else the last.
        images: number of images to show: the first of each class, then the second of each.
        rows: rows of the split to show instead.
        split: of the data set.
        say: prints a note if the weights of the last epoch are shown for want of others.

    Raises:
        ValueError: not a run folder, no such split, rows that it does not have, images and rows both, or
            networks without stages.
        RunError: an epoch whose weights were not stored, no weights, or a method that cannot be rebuilt.
    """
    if images is not None and rows:
        raise ValueError("give --images or --rows, not both: rows says which images, images only how many")
    prepared = prepared_of(folder)
    dataset, config = prepared.dataset, prepared.config
    pictures = labelled_of(dataset, split, config, "attention")
    if rows:
        wanted = _checked_rows(rows, pictures, split)
    else:
        wanted = chosen_rows(pictures.y, min(IMAGES, len(pictures)) if images is None else images)
    rebuilt = rebuild(folder, prepared)
    states = wanted_states(folder, rebuilt.states, epochs, say)
    device = distributed.pick_device("auto")
    shown = _batch(pictures, wanted, dataset, device)
    even = torch.tensor(spread(len(pictures), MEASURED))
    rebuilt.method.to(device)
    looks: list[Look] = []
    for epoch, state in sorted(states.items()):
        load_kept(rebuilt.method, state)
        loader = split_loader(pictures.subset(even), dataset, device, config.workers)
        with evaluating(rebuilt.method):
            looks += _looks(rebuilt.method, epoch, shown, loader.epoch(0), dataset.classes)
    data = data_words(Path(config.data).name, config.image_size)
    about = f"{prepared.label} on {data}, {config.model}, seed {config.seed}"
    if rebuilt.phases > 1:
        about += f", phase {rebuilt.name}"
    return Attention(
        about,
        split,
        tuple(wanted.tolist()),
        _visible(shown.x, dataset),
        tuple(dataset.classes[k] for k in shown.y.tolist()),
        tuple(looks),
        len(even),
    )


def write_attention(attention: Attention, picture: Path) -> list[Path]:
    """The picture, and its numbers beside it: ``.npz`` the maps, ``.csv`` how concentrated they are.

    Each file is written whole or not at all.

    Raises:
        ValueError: the picture's name does not end in .png, or it would be too large.
    """
    check_picture(picture)
    files = {
        picture: draw(attention),
        picture.with_suffix(".npz"): to_npz(attention),
        picture.with_suffix(".csv"): to_csv(attention).encode(),
    }
    for path, data in files.items():
        write_bytes(path, data)
    return list(files)


def check_picture(picture: Path) -> None:
    """Raise a ValueError unless the name ends in .png: before anything is computed."""
    if picture.suffix != ".png":
        raise ValueError(f"the picture is a PNG, so its name ends in .png; got {picture}")


# ---------------------------------------------------------------- outputs of a method


def outputs(method: Method, x: Tensor) -> dict[str, Output]:
    """The Outputs of a method's networks that return stages, by name; the deployed network comes first.

    These are its predictors; the submodule named ``self_teacher``, if there is one, applied to the stages
    of the deployed network; and its frozen teachers.

    Raises:
        ValueError: no network returns stages.
    """
    networks = {name: _bare(module) for name, module in method.predictors().items()}
    by_name = {name: as_output(network(x)) for name, network in networks.items()}
    first = next(iter(by_name))
    named = ((name.rpartition(".")[2], module) for name, module in method.named_modules())
    self_teacher = next((module for name, module in named if name == "self_teacher"), None)
    if self_teacher is not None and by_name[first].stages:
        by_name["self_teacher"] = as_output(self_teacher(by_name[first].stages))
    frozen = {name: child for name, child in method.named_children() if isinstance(child, Frozen)}
    by_name |= {name: teacher(x) for name, teacher in frozen.items() if name not in by_name}
    with_stages = {name: output for name, output in by_name.items() if output.stages}
    if not with_stages:
        raise ValueError(
            f"{type(networks[first]).__name__} gives no stages, so there is nothing to draw; name its "
            "modules, cohobate.adapt(network, stages=[...]) (`cohobate inspect MODEL` shows its stages)"
        )
    return with_stages


def _bare(module: nn.Module) -> nn.Module:
    return module.network if isinstance(module, Classifier) else module


def _looks(
    method: Method, epoch: int, shown: Batch, measured: Iterator[Batch], classes: Sequence[str]
) -> list[Look]:
    shown_outputs = outputs(method, shown.x)
    answers = method.readouts(shown.x)
    sums: dict[str, Tensor] = {}
    count = 0
    for batch in measured:
        count += len(batch.y)
        for name, output in outputs(method, batch.x).items():
            each = torch.stack([concentration(pooled(stage)).double().sum() for stage in output.stages])
            sums[name] = sums[name] + each if name in sums else each
    return [
        Look(
            NAMES.get(name, name.replace("_", " ")),
            epoch,
            tuple(pooled(stage).cpu() for stage in output.stages),
            tuple(classes[k] for k in answers.get(name, output.logits).argmax(1).tolist()),
            tuple((sums[name] / count).tolist()),
        )
        for name, output in shown_outputs.items()
    ]


# ---------------------------------------------------------------- which images


def chosen_rows(y: Tensor, images: int) -> Tensor:
    """The first image of each class, class by class, then the second of each, so many in all.

    Args:
        y: (N,) class ids.
        images: how many rows.

    Raises:
        ValueError: fewer than 1, or more than there are.
    """
    if not 1 <= images <= len(y):
        raise ValueError(f"images must be 1 to {len(y)}, the size of the split; got {images}")
    by_class = y.argsort(stable=True)
    sizes = torch.bincount(y)
    # For each image, the number of earlier images of its class.
    before = torch.arange(len(y)) - (sizes.cumsum(0) - sizes)[y[by_class]]
    return by_class[before.argsort(stable=True)[:images]]


def _checked_rows(rows: Sequence[int], pictures: Split, split: str) -> Tensor:
    outside = [row for row in rows if not 0 <= row < len(pictures)]
    if outside:
        raise ValueError(
            f"the {split} split has rows 0 to {len(pictures) - 1}, not {', '.join(map(str, outside))}"
        )
    return torch.tensor(list(dict.fromkeys(rows)))


def split_of(dataset: Dataset, split: str, config: Training) -> Split:
    """The validation or the test split of a run's images; a ValueError where they have none."""
    images = dataset.val if split == "val" else dataset.test() if dataset.test else None
    if images is None:
        raise ValueError(f"{config.data} has no {split} split")
    return images


def labelled_of(dataset: Dataset, split: str, config: Training, command: str) -> Labelled:
    """:func:`split_of` for a command that needs one label an image; a ValueError where they have masks."""
    images = split_of(dataset, split, config)
    if isinstance(images, Scenes):
        raise ValueError(
            f"`cohobate {command}` is for runs on images with one label each, and those of {config.data} "
            "have masks; the page of such a run, `cohobate report RUN`, shows what its network names in them"
        )
    return images


def _batch(pictures: Split, rows: Tensor, dataset: Dataset, device: torch.device) -> Batch:
    """The images as one batch, loaded without worker processes."""
    loader = split_loader(pictures.subset(rows), dataset, device, workers=0)
    return next(iter(loader.epoch(0)))


def _visible(x: Tensor, dataset: Dataset) -> Tensor:
    """Normalised images (N, C, H, W) as a person sees them, (N, H, W, 3) from 0 to 1.

    Images of other than 3 channels are shown as the grey mean over their channels.
    """
    mean, std = x.new_tensor(dataset.mean), x.new_tensor(dataset.std)
    pixels = (x.movedim(1, -1) * std + mean).clamp(0, 1).cpu()
    return pixels if pixels.shape[-1] == 3 else pixels.mean(-1, keepdim=True).expand(-1, -1, -1, 3)
