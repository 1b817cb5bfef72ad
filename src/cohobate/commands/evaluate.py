"""``cohobate evaluate``: how good a finished run's deployed network is, in every measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro
from pydantic import Field

from ..config.groups import Group, Training
from ..config.groups.network import renamed
from ..config.words import count
from ..engine.errors import RunError
from .console import show
from .parsing import parsed_alone

if TYPE_CHECKING:
    from ..data.dataset import Dataset, Split
    from ..runs.deployed import Deployed

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
    """

    data: str | None = None
    data_root: Path | None = None
    by_position: bool = False
    renamed: tuple[str, ...] = ()
    skip_unreadable: bool = False


def evaluate_run(
    path: Path,
    split: Part | None = None,
    weights: Weights = "last",
    on: On | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> tuple[dict[str, Any], tuple[str, ...], Part]:
    """Measure the deployed network of a run on a split of its data or of other data, in the run's precision.

    Args:
        path: the run's folder.
        split: by default test, or val where the data has no test split, or train where it has neither.
        weights: of the last epoch, or of the best one on the validation split.
        on: other images, by default none.
        say: prints a note: images that the run was not trained on, classes in another order.

    Returns:
        Measurements as the engine's measures give them, the class names, the split.

    Raises:
        FileNotFoundError: there is no such folder, or no such data.
        ValueError: not a run folder, data without such a split, of other classes or of another size.
        RunError: the run has not finished, or was made from Python.
    """
    from ..core import Classifier, match_classes
    from ..engine import distributed
    from ..engine.evaluate import evaluating
    from ..engine.finite import broken_measures
    from ..engine.measures.classification import CLASSIFICATION
    from ..recipes.job import OTHER_NAMES
    from ..recipes.networks import rebuilt, reordered
    from ..runs.deployed import read_deployed
    from ..runs.finding import made_from_python
    from ..runs.layout import RunFolder
    from ..runs.reading import read_run, require_finished
    from .feeds import split_loader

    on = on or On()
    require_finished(path)
    run, folder = read_run(path), RunFolder(path)
    if made_from_python(str(run.config["method"])):
        raise RunError(
            f"{path} was trained from Python (cohobate.fit with {run.config['method']}), which cannot be "
            "built again from its name: build the network, then cohobate.load_weights(network, "
            f"'{folder.deployed}')"
        )
    file = folder.deployed if weights == "last" else folder.deployed_best
    deployed = read_deployed(file)
    recorded = {key: value for key, value in run.config.items() if key in Training.model_fields}
    config = Training.model_validate(recorded)
    dataset = _dataset(config, on, deployed, run.provenance.get("data_fingerprint"), say)
    matching = match_classes(
        deployed.classes,
        dataset.classes,
        f"the network of {path}",
        by_position=on.by_position,
        renamed=renamed(on.renamed),
        remedy=OTHER_NAMES,
    )
    if matching.note is not None:
        say(f"note: {matching.note}")
    if split is None:
        split = "test" if dataset.test else "val" if dataset.val is not None else "train"
    images = _split(dataset, split)
    device = distributed.pick_device(config.device)
    network = Classifier(reordered(rebuilt(deployed), matching.order, deployed.shape)).to(device)
    loader = split_loader(images, dataset, device, config.workers)
    with evaluating(network):
        measured = CLASSIFICATION.evaluate(
            lambda x: {"network": network(x)}, loader, device, config.precision
        )
    if broken := next(broken_measures(measured), None):
        raise RunError(
            f"the measure {broken[1]!r} of {file} on the {split} split is {broken[2]}: its logits are not "
            "finite; train the run again with a lower lr, or with clip"
        )
    return measured["network"], dataset.classes, split


def _dataset(
    config: Training, on: On, deployed: Deployed, trained_on: str | None, say: Callable[[str], None]
) -> Dataset:
    """The images of the run, divided as they were; or others, whole, normalised as the run's were."""
    from dataclasses import replace

    from ..data.sets import SETS
    from ..data.sources import sets_in
    from .images import read_data

    moved: dict[str, Any] = {"data": on.data, "data_root": on.data_root}
    moved = {key: value for key, value in moved.items() if value is not None}
    moved |= {"skip_unreadable": True, "check": True} if on.skip_unreadable else {}
    config = config.model_copy(update=moved)
    dataset = _same(config, trained_on, say)
    if dataset is None:
        path = Path(config.data).expanduser()
        folder = config.data not in SETS and path.is_dir() and not sets_in(path)
        side = {"image_size": deployed.shape[1]} if folder else {}
        whole = {"val_fraction": 0.0, "train_images": None, **side}
        dataset = read_data(config.model_copy(update=whole))
        say(f"note: {config.data} does not hold the images that the run was trained on, or no longer")
        for note in dataset.notes:
            say(f"note: {note}")
    if dataset.shape != deployed.shape:
        sizes = (" x ".join(map(str, shape)) for shape in (dataset.shape, deployed.shape))
        raise ValueError("images of {} are {}, the network is made for {}".format(config.data, *sizes))
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


# ---------------------------------------------------------------- command line

ABOUT = """\
Measure a finished run's deployed network: top-1, top-5, NLL, calibration, each class.

--data takes other images: a folder or a data set with the same classes, matched by name. Images that
have moved are recognised, and divided as they were in the run; others are normalised as the run's were.
"""


class Command(Group):
    """The run, the images and the weights."""

    run: Annotated[Path, tyro.conf.Positional] = Field(description="Folder of the run.")
    split: Part | None = Field(
        None,
        description="Split to measure on; by default test, or val if the data has no test split, or train "
        "if it has neither.",
    )
    weights: Weights = Field(
        "last", description="Weights of the last epoch, or of the epoch with the best validation error."
    )
    data: str | None = Field(
        None, description="Images to measure on, as --data of `cohobate train`; by default those of the run."
    )
    data_root: Path | None = Field(
        None, description="Folder with the files of the named data sets; by default that of the run."
    )
    match_classes: Literal["by_name", "by_position"] = Field(
        "by_name",
        description="How the network's classes are matched with those of the data: by_name, and other names "
        "are refused; by_position, whatever their names.",
    )
    renamed_classes: tuple[str, ...] = Field(
        (), description="Classes that have another name in the data than in the network: OLD=NEW,OLD=NEW."
    )
    skip_unreadable: bool = Field(
        False, description="Leave out files of a folder that cannot be decoded, and say which."
    )


def main(arguments: list[str]) -> None:
    """Measure the finished run RUN: top-1, top-5, NLL, calibration, each class."""
    command = parsed_alone("cohobate evaluate", arguments, Command, ABOUT)
    from ..report.tables.terminal import measures_table
    from ..runs.reading import read_run

    on = On(
        command.data,
        command.data_root,
        command.match_classes == "by_position",
        command.renamed_classes,
        command.skip_unreadable,
    )
    run, weights = command.run, command.weights
    measured, classes, which = evaluate_run(run, command.split, weights, on, say=print)
    title = f"{run}, {which} split, {weights} weights, {count(measured['images'], 'image')}"
    show(measures_table(title, measured, classes, read_run(run).headline))
