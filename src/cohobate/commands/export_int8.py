"""The ONNX file in 8-bit integers: calibrated on images of a run, and measured beside the one in floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..config.words import count
from ..core import match_classes
from ..data.dataset import Dataset, Split
from ..data.raw import pixels, spread
from ..inference.deployable import Normalisation
from ..inference.int8 import CALIBRATION_BATCH, choices, described, quantised
from ..runs.exported import About, Int8
from .console import doing
from .export_files import Export, Made
from .export_int8_measures import Measured, errors, mious
from .export_source import Source
from .feeds import measured_at_once

CALIBRATED_ON = 500
"""Images that set the ranges of the activations, where nothing else is asked for."""
WORSE = 1.0
"""Points of top-1 error, or of mIoU, above which a warning says what 8 bits cost."""


class Integers(NamedTuple):
    """The file that was made.

    Attributes:
        data: its content.
        record: how it was made, and what was measured.
        share: its size over that of the file in floats.
    """

    data: bytes
    record: Int8
    share: float

    def __str__(self) -> str:
        found = self.record
        own, in_floats = found.values
        return (
            f"{found.measure} {own:.2f} %, in floats {in_floats:.2f} % ({found.measured_on}, "
            f"{count(found.images, 'image')}; {count(found.other_labels, 'other label')}), "
            f"{self.share:.0%} of the size in floats, calibrated on {found.calibrated_on}, "
            f"{count(found.calibration_images, 'image')}"
        )


def int8(export: Export) -> dict[str, Made]:
    """The ONNX file in 8-bit integers, if it was asked for."""
    asked = export.asked
    if not asked.command.int8:
        return {}
    there = export.made.get(export.folder.network("onnx").name)
    floats = export.forms.written("onnx") if there is None else there.data
    if there is None:
        export.forms.checked("onnx", floats, export.seen.images)
    made = integers(export.source, floats, export.seen.dataset, asked.command.calibration_images, export.say)
    return {export.folder.int8.name: Made(made.data, str(made))}


def integers(
    source: Source,
    floats: bytes,
    dataset: Dataset | None,
    images: int | None,
    say: Callable[[str], None],
) -> Integers:
    """Quantise an ONNX file, and measure it beside the file in floats.

    Args:
        source: the network.
        floats: the ONNX file, checked.
        dataset: images of the run, which calibrate and measure it; None: they are not there.
        images: that calibrate it; None: 500.
        say: prints a note or a warning.

    Raises:
        ValueError: there are no images, or others; the network cannot be quantised, or has nothing to
            quantise.
        RunError: what it predicts is not finite.
    """
    about, run = source.about, source.of.run.folder
    if dataset is None:
        raise ValueError(
            f"--int8 needs images to calibrate and to measure on, and those of {run} ({about.data}) are not "
            "there, or are others by now; --data-root and --data say where there are images"
        )
    order, note = match_classes(about.classes, dataset.classes, f"the network of {run}")
    if note is not None:
        say(f"note: {note}")
    which, held_out = calibration_split(dataset)
    if which == "train":
        say(f"note: {dataset.name} has no val split here, so training images calibrate the int8 file")
    with doing("quantising the network"):
        made = calibrated(floats, about, held_out, images, f"the network of {run}")
    name, split = error_split(dataset)
    measure = errors if about.task == "classification" else mious
    files = {"int8": made, "floats": floats}
    record = Int8(
        choices=choices(calibrated_at_once(about)),
        calibrated_on=f"{dataset.name}, {which} split",
        calibration_images=len(spread(len(held_out), images or CALIBRATED_ON)),
        measured_on=f"{dataset.name}, {name} split",
        images=len(split),
        **measure(files, Measured(split, dataset, about, order)),
    )
    if name == which:
        say(f"note: images of the {name} split both calibrate the int8 file and measure it")
    if record.points > WORSE:
        own, in_floats = record.values
        say(
            f"warning: 8 bits cost {record.points:.2f} points of {record.measure}: {own:.2f} %, in "
            f"floats {in_floats:.2f} % ({record.measured_on}, {count(record.images, 'image')})"
        )
    data = described(made, about.model_copy(update={"int8": record}).to_metadata())
    return Integers(data, record, len(data) / len(floats))


def calibrated(floats: bytes, about: About, split: Split, images: int | None, what: str) -> bytes:
    """An ONNX file in integers, whose ranges are set by so many images of a split, evenly spaced.

    Args:
        floats: the file in floats.
        about: the network.
        split: :func:`calibration_split`.
        images: how many; None: 500.
        what: the network, for messages.

    Raises:
        ValueError: the network cannot be quantised, or has nothing to quantise.
    """
    shown = pixels(split, spread(len(split), images or CALIBRATED_ON))
    taken = Normalisation(about.mean, about.std).of_bytes(shown, about.values)
    return quantised(floats, taken, what, calibrated_at_once(about))


def calibrated_at_once(about: About) -> int:
    """Images of a batch that sets the ranges of the activations."""
    return min(CALIBRATION_BATCH, measured_at_once(about.task, about.shape, len(about.classes)))


def calibration_split(dataset: Dataset) -> tuple[str, Split]:
    """The validation split, else the training split, never the test split; and its name."""
    return ("val", dataset.val) if dataset.val is not None else ("train", dataset.train)


def error_split(dataset: Dataset) -> tuple[str, Split]:
    """The test split, else the validation split, else the training split; and its name."""
    return ("test", dataset.test()) if dataset.test is not None else calibration_split(dataset)
