"""``cohobate evaluate``: how good a finished run's deployed network is, in every measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field, model_validator

from ..config.grammar import flag
from ..config.groups import Group
from ..config.words import count
from ..engine.errors import RunError
from ..runs.adaptive import Reading
from .choice import Wish
from .console import show
from .parsing import parsed_alone
from .subject import On as On
from .subject import Part, Weights, opened, shown


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
    from ..core import Classifier
    from ..engine.evaluate import evaluating
    from ..engine.finite import broken_measures
    from ..recipes.networks import rebuilt, reordered
    from .feeds import MEASURES, split_loader

    of = opened(path, weights)
    on = on or On()
    seen = shown(of, split, on, say)
    network = Classifier(reordered(rebuilt(of.deployed), seen.order, of.deployed.shape)).to(seen.device)
    loader = split_loader(seen.images, seen.dataset, seen.device, of.config.workers)
    with evaluating(network):
        measured = MEASURES[seen.dataset.task].evaluate(
            lambda x: {"network": network(x)}, loader, seen.device, of.config.precision
        )
    if broken := next(broken_measures(measured), None):
        raise RunError(
            f"the measure {broken[1]!r} of {of.deployed.path} on the {seen.split} split is {broken[2]}: its "
            "logits are not finite; train the run again with a lower lr, or with clip"
        )
    return measured["network"], seen.dataset.classes, seen.split


# ---------------------------------------------------------------- command line

ABOUT = """\
Measure a finished run's deployed network: top-1, top-5, NLL, calibration, the error of each class; of a
network of segmentation mIoU at its own size and at that of the pictures, pixel accuracy, IoU of each class.

--data takes other images: a folder or a data set with the same classes, matched by name. Images that
have moved are recognised, and divided as they were in the run; others are normalised as the run's were.

--adaptive measures a deployed sum of networks (reskd, ensemble, trained_together) as a cascade: an image
that the first networks are sure of leaves early. Its threshold is the stored one, or is chosen on D_v,
images of the run's own data, and stored with the network; cohobate.load(RUN, adaptive=True) uses it.
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
        "last", description="Weights of the last epoch, or of the best one on the validation split."
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
    adaptive: bool = Field(
        False,
        description="Let images leave early, and show accuracy, cost and time beside the full sum and the "
        "teacher; one of the options below chooses the threshold anew, without them it is the stored one.",
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Threshold: an image leaves once its energy is above it."
    )
    accuracy: float | None = Field(
        None, ge=0, le=100, description="The smallest cost with this accuracy or more on D_v, percent."
    )
    accuracy_drop: float | None = Field(
        None,
        ge=0,
        le=100,
        description="The smallest cost within so many points of the full sum's accuracy on D_v.",
    )
    max_macs: float | None = Field(
        None,
        gt=0,
        description="The best accuracy on D_v within this mean number of multiply-accumulates an image.",
    )
    by_energy: bool = Field(False, description="The mean energy of the full sum on D_v (ResKD, eq. 10).")
    energy: Reading | None = Field(
        None,
        description="Energy that is compared with the threshold: sum, that of the summed logits; added, the "
        "energies of the networks added up (ResKD's algorithm 2 as printed). By default that of the stored "
        "threshold, or sum.",
    )

    @model_validator(mode="after")
    def _only_adaptive(self) -> Command:
        given = [*self.wish.given, *(["energy"] if self.energy is not None else [])]
        if given and not self.adaptive:
            raise ValueError(f"{flag(given[0])} has no effect without --adaptive: give it, or leave it out")
        self.wish.check()
        return self

    @property
    def wish(self) -> Wish:
        """What the threshold shall be, or do."""
        return Wish(*(getattr(self, name) for name in Wish._fields))


def main(arguments: list[str]) -> None:
    """Measure the finished run RUN: errors, NLL, calibration, or mIoU; and each class."""
    command = parsed_alone("cohobate evaluate", arguments, Command, ABOUT)
    from ..report.tables.adaptive import adaptive_notes, to_rich
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
    if command.adaptive:
        from .adaptive import evaluate_adaptive

        adaptive = evaluate_adaptive(run, command.split, weights, on, command.wish, command.energy, say=print)
        show(to_rich(adaptive, str(run)))
        print("\n".join(adaptive_notes(adaptive)))
        return
    measured, classes, which = evaluate_run(run, command.split, weights, on, say=print)
    title = f"{run}, {which} split, {weights} weights, {count(measured['images'], 'image')}"
    show(measures_table(title, measured, classes, read_run(run).headline))
