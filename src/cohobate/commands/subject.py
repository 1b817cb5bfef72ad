"""A finished run's deployed network, and the images that it is measured on. No torch until it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..config.groups import Training
from ..config.groups.network import renamed
from ..config.one_of import check_word
from ..engine.errors import RunError

if TYPE_CHECKING:
    import torch

    from ..data.dataset import Dataset, Split
    from ..runs.deployed import Deployed
    from ..runs.reading import Run

Part = Literal["test", "val", "train"]
Weights = Literal["last", "best"]


class On(NamedTuple):
    """Images other than those that a run names, and how their classes are matched with the network's.

    Attributes:
        data: as ``--data``; None: that of the run.
        data_root: as ``--data-root``; None: that of the run.
        by_position: take the classes as they stand, whatever their names.
        renamed: ``OLD=NEW``, name of a class in the network -> in the data.
        skip_unreadable: leave out files that cannot be decoded, and say which.
        dataset: the images themselves, in memory.
    """

    data: str | None = None
    data_root: Path | None = None
    by_position: bool = False
    renamed: tuple[str, ...] = ()
    skip_unreadable: bool = False
    dataset: Dataset | None = None


class Opened(NamedTuple):
    """A finished run and what it deployed.

    Attributes:
        run: as it was recorded.
        deployed: its network, of the weights asked for.
        config: its options.
    """

    run: Run
    deployed: Deployed
    config: Training


class Shown(NamedTuple):
    """Images that a network is measured on.

    Attributes:
        dataset: that they are from, normalised as the run's were.
        own: whether it is that of the run.
        images: the split.
        split: its name.
        order: for each class of the data, the position of the network's logit; None: as they stand.
        device: of the run.
    """

    dataset: Dataset
    own: bool
    images: Split
    split: Part
    order: tuple[int, ...] | None
    device: torch.device


def opened(path: Path, weights: Weights) -> Opened:
    """A finished run and its deployed network.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: not a run folder, or no such weights.
        RunError: the run has not finished, or was made from Python.
    """
    from ..runs.deployed import read_deployed
    from ..runs.finding import made_from_python
    from ..runs.layout import RunFolder
    from ..runs.reading import read_run, require_finished

    check_word("weights", weights, Weights)
    require_finished(path)
    run = read_run(path)
    if made_from_python(str(run.config["method"])):
        raise RunError(
            f"{path} was trained from Python (cohobate.fit with {run.config['method']}), which cannot be "
            "built again from its name: build the network, then cohobate.load_weights(network, "
            f"'{RunFolder(path).deployed}')"
        )
    return Opened(run, read_deployed(_deployed_file(path, weights)), _options(run))


def opened_for(path: Path, weights: Weights) -> Opened:
    """A finished run, from Python too, for whoever has its network.

    Raises:
        FileNotFoundError, ValueError, RunError: as :func:`opened`.
    """
    from ..engine.checkpoint import read_state
    from ..runs.deployed import Deployed
    from ..runs.reading import read_run, require_finished

    check_word("weights", weights, Weights)
    require_finished(path)
    run, file = read_run(path), _deployed_file(path, weights)
    return Opened(run, Deployed(file, *read_state(file)), _options(run))


def _deployed_file(path: Path, weights: Weights) -> Path:
    from ..runs.layout import RunFolder

    return RunFolder(path).deployed if weights == "last" else RunFolder(path).deployed_best


def _options(run: Run) -> Training:
    recorded = {key: value for key, value in run.config.items() if key in Training.model_fields}
    return Training.model_validate(recorded)


def shown(of: Opened, split: Part | None, on: On, say: Callable[[str], None]) -> Shown:
    """The images to measure a run's network on, matched with its classes.

    Args:
        of: the run.
        split: by default test, or val where the data has no test split, or train where it has neither.
        on: other images, or none.
        say: prints a note: images that the run was not trained on, classes in another order.

    Raises:
        FileNotFoundError: there is no such data.
        ValueError: data without such a split, of other classes or of another size.
    """
    from ..core import match_classes
    from ..engine import distributed
    from ..recipes.job import OTHER_NAMES

    if split is not None:
        check_word("split", split, Part)
    dataset, own = _dataset(of.config, on, of.deployed, of.run.provenance.get("data_fingerprint"), say)
    matching = match_classes(
        of.deployed.classes,
        dataset.classes,
        f"the network of {of.run.folder}",
        by_position=on.by_position,
        renamed=renamed(on.renamed),
        remedy=OTHER_NAMES,
    )
    if matching.note is not None:
        say(f"note: {matching.note}")
    if split is None:
        split = "test" if dataset.test else "val" if dataset.val is not None else "train"
    images = _split(dataset, split)
    return Shown(dataset, own, images, split, matching.order, distributed.pick_device(of.config.device))


def own_images(of: Opened, say: Callable[[str], None]) -> Dataset | None:
    """The images of the run, divided and normalised as they were; None if they are others, or not there."""
    try:
        dataset = _same(of.config, of.run.provenance.get("data_fingerprint"), say)
    except FileNotFoundError:
        return None
    return None if dataset is None else _normalised(dataset, of.deployed)


def images_to_check(of: Opened, on: On, say: Callable[[str], None]) -> Dataset | None:
    """Images that the run's network takes: its own, wherever they are now, or others; None if they are gone.

    Args:
        of: the run.
        on: other images, or where those of the run are now.
        say: prints a note on images that are not the run's.

    Raises:
        FileNotFoundError: the images that ``on`` names are not there.
        ValueError: they are damaged, or of another size.
    """
    if on == On():
        return own_images(of, say)
    trained_on = of.run.provenance.get("data_fingerprint")
    dataset, _ = _dataset(of.config, on, of.deployed, trained_on, say)
    return dataset


def _dataset(
    config: Training, on: On, deployed: Deployed, trained_on: str | None, say: Callable[[str], None]
) -> tuple[Dataset, bool]:
    """Those of the run, divided as they were, and True; or others, whole, normalised as the run's were."""
    from ..data.averaged import if_larger
    from ..data.sources import are_pictures, has_sizes
    from .images import read_data

    if on.dataset is not None:
        return _given(on.dataset, config, deployed, trained_on, say)
    moved: dict[str, Any] = {"data": on.data, "data_root": on.data_root}
    moved = {key: value for key, value in moved.items() if value is not None}
    moved |= {"skip_unreadable": True, "check": True} if on.skip_unreadable else {}
    config = config.model_copy(update=moved)
    dataset = _same(config, trained_on, say)
    own = dataset is not None
    if dataset is None:
        sized = has_sizes(config.data)
        whole: dict[str, Any] = {"val_fraction": 0.0, "train_images": None}
        whole["image_size"] = deployed.shape[1:] if sized else None
        if not are_pictures(config.data, config.data_root):
            # What says how pictures in files are read is refused for other data; evaluation can ask to skip.
            whole |= {"fit": "crop", "background": "white", "eval_resize": None, "crop": None}
            whole |= {"check": True, "skip_unreadable": on.skip_unreadable}
        dataset = read_data(config.model_copy(update=whole))
        if config.image_size is not None and not sized:
            dataset = if_larger(dataset, deployed.shape[1:])
        say(f"note: {config.data} does not hold the images that the run was trained on, or no longer")
        for note in dataset.notes:
            say(f"note: {note}")
    return _fitting(dataset, config.data, deployed), own


def _given(
    dataset: Dataset, config: Training, deployed: Deployed, trained_on: str | None, say: Callable[[str], None]
) -> tuple[Dataset, bool]:
    """Images in memory: divided as in the run, and True, if they are the run's."""
    from ..data.channels import with_channels
    from ..data.dataset import fingerprint
    from .images import divide

    try:
        divided = divide(with_channels(dataset, config.channels), config)
    except ValueError:
        # Others may be too few to be divided like the run's.
        divided = None
    if divided is not None and fingerprint(divided) == trained_on:
        return _fitting(divided, dataset.name, deployed), True
    say(f"note: {dataset.name} does not hold the images that the run was trained on")
    return _fitting(dataset, dataset.name, deployed), False


def _fitting(dataset: Dataset, name: str, deployed: Deployed) -> Dataset:
    """The data set, normalised as the run's; a ValueError if its images are of another size."""
    if dataset.shape != deployed.shape:
        sizes = (" x ".join(map(str, shape)) for shape in (dataset.shape, deployed.shape))
        raise ValueError("images of {} are {}, the network is made for {}".format(name, *sizes))
    return _normalised(dataset, deployed)


def _normalised(dataset: Dataset, deployed: Deployed) -> Dataset:
    """The data set, normalised as the images were that the network learned from."""
    from dataclasses import replace

    statistics: dict[str, Any] = dict(zip(("mean", "std"), map(tuple, deployed.statistics), strict=True))
    return replace(dataset, **statistics)


def _same(config: Training, trained_on: str | None, say: Callable[[str], None]) -> Dataset | None:
    """The images of the run, if they are still the same; None if they are others."""
    from ..data.dataset import fingerprint
    from .images import extra_images, read_data, without_check

    try:
        dataset = read_data(without_check(config))
    except ValueError:
        # Other images may be too few to be divided like the run's; whole, they are read again.
        return None
    try:
        extra, _ = extra_images(dataset, config)
    except (ValueError, FileNotFoundError):
        say("note: the run's unlabelled images are not there, so nothing says whether its data has changed")
        return dataset
    return dataset if trained_on in (None, fingerprint(dataset, extra)) else None


def _split(dataset: Dataset, split: Part) -> Split:
    if split == "train":
        return dataset.train
    images = dataset.val if split == "val" else dataset.test() if dataset.test else None
    if images is None:
        held_out = "; a run holds its own out of its training images, other images have none"
        raise ValueError(f"{dataset.name} has no {split} split{held_out if split == 'val' else ''}")
    return images
