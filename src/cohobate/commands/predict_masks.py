"""The masks of files, written one by one into a folder, and what classes are how much of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config.colours import Colour, class_colours
from ..config.words import count
from ..data.decoded import upright
from ..data.given import Given
from ..data.pictures import PictureError
from ..engine.checkpoint import write_bytes
from ..inference.painted import mask_png, overlay_png
from ..report.tables.shares import Shares, csv_of, json_of, legend, to_rich
from .bar import Bar
from .console import text_of
from .masks import Mask, check_masks, masks_of
from .predict_batches import nothing_readable
from .predict_files import Skipping, answered_files, opened_for
from .predict_folder import MaskFolder, Place
from .predict_options import Command, Counts
from .ready import ReadyNetwork


def predict_masks(command: Command, folder: MaskFolder, named: Given, places: Sequence[Place]) -> Counts:
    """Write a mask, and an overlay, for each picture that was named; then the shares and the legend.

    No more than a batch of images and the masks of one picture are in memory at a time.

    Args:
        command: as it was given.
        folder: into which is written.
        named: the pictures.
        places: of what is said of each of them.

    Raises:
        ValueError: the options do not go with the network, or, with ``strict``, a file cannot be read.
        RunError: no file can be read, the network predicts nothing finite, or a file cannot be written.
    """
    ready = opened_for(command)
    classes = ready.about.classes
    check_masks(classes, ready.name)
    writing = Writing(folder, ready, class_colours(len(classes)))
    with Bar("images", len(named.files)) as bar:
        skipped = Skipping(command.strict, bar.say)
        for name, why in named.broken:
            skipped(name, why)
        for batch in answered_files(command, ready, named, skipped, bar.reach):
            for mask in masks_of(batch, ready.reading):
                file = named.files[mask.row]
                try:
                    writing.take(file.name, file.path, mask, places[mask.row])
                except PictureError as error:  # the file was changed or removed since it was predicted
                    skipped(file.name, error.reason)
    if not writing.found:
        raise nothing_readable(skipped.count, skipped.first)
    writing.end()
    return Counts(len(writing.found), skipped.count)


class Writing:
    """Writes what is said of pictures.

    Args:
        folder: into which.
        ready: the network.
        colours: of its classes.
    """

    def __init__(self, folder: MaskFolder, ready: ReadyNetwork, colours: Sequence[Colour]) -> None:
        self.folder, self.ready, self.colours = folder, ready, colours
        self.found: list[Shares] = []

    def take(self, name: str, picture: Path, mask: Mask, place: Place) -> None:
        """The mask and the overlay of a picture.

        Raises:
            PictureError: the picture cannot be read any more, or is of another size now.
            RunError: a file cannot be written; those before it are whole.
        """
        numbers = mask.classes.numpy()
        files = {place.mask: mask_png(numbers, self.colours)}
        if place.overlay is not None:
            shown = upright(picture, self.ready.reading)
            if shown.size != numbers.shape[::-1]:
                raise PictureError(f"{picture} has changed", "it has changed while it was predicted")
            files[place.overlay] = overlay_png(shown, numbers, self.colours, self.folder.opacity)
        for path, data in files.items():
            write_bytes(self.folder.path / path, data)
        overlay = None if place.overlay is None else str(place.overlay)
        self.found.append(Shares(name, str(place.mask), overlay, mask.shares.tolist()))

    def end(self) -> None:
        """All are there: the shares and the legend.

        Raises:
            RunError: a file cannot be written.
        """
        folder, classes = self.folder, self.ready.about.classes
        title = f"{self.ready.name}, {count(len(self.found), 'image')}"
        text = {
            "csv": lambda: csv_of(self.found, classes),
            "jsonl": lambda: json_of(self.found, classes),
            "table": lambda: text_of(to_rich(self.found, classes, title)),
        }[folder.format]()
        write_bytes(folder.shares, text.encode())
        write_bytes(folder.classes, legend(classes, self.colours).encode())
