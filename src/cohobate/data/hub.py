"""Data sets of the Hugging Face hub, and those that its library ``datasets`` has saved: ``hf:NAME``.

The library downloads the files and says what their columns are; the pictures are decoded by our reader, from
their bytes. No code of the hub is run: releases of the library that could are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..config.extras import require
from ..config.grammar import split, without
from ..config.text import first_line, shown
from ..config.words import count
from .columns import Column, chosen_columns, classes_of, ids_of
from .dataset import Dataset
from .folder import common_side, guess
from .from_files import from_files
from .listing import PARTS
from .pictures import SMALL
from .reader import Listing
from .saved import require_saved
from .stored import Stored
from .wanted import Wanted

PREFIX = "hf:"
WITHOUT_CODE = 4
"""Release of the library from which on it runs no code of the hub."""


class Spec(NamedTuple):
    """What ``--data hf:...`` asks for.

    Attributes:
        whole: as it was given.
        name: of the data set on the hub; None: it lies in a folder.
        config: which of its configurations; None: its only one.
        folder: that ``save_to_disk`` has made.
        image, label: names of columns; None: found by their types.
    """

    whole: str
    name: str | None
    config: str | None
    folder: Path | None
    image: str | None
    label: str | None

    @classmethod
    def of(cls, text: str) -> Spec:
        """``hf:NAME[:CONFIG]``, or ``hf:./FOLDER``, with ``:image=COLUMN`` and ``:label=COLUMN``.

        Raises:
            ValueError: no name, another option, or one given twice.
        """
        rest, images = without(text.removeprefix(PREFIX), "image")
        rest, labels = without(rest, "label")
        first, *others = split(rest)
        unknown = [part for part in others if "=" in part]
        if unknown or len(images) > 1 or len(labels) > 1 or not first:
            wrong = unknown[0] if unknown else "an option twice" if first else "no name"
            raise ValueError(
                f"{text!r} has {wrong}; write hf:NAME, hf:NAME:CONFIG or hf:./FOLDER, and where they are not "
                "found :image=COLUMN:label=COLUMN"
            )
        image, label = (values[0] if values else None for values in (images, labels))
        if first.startswith((".", "~")) or Path(first).is_absolute():
            return cls(text, None, None, Path(rest).expanduser(), image, label)
        name, _, config = rest.partition(":")
        return cls(text, name, config or None, None, image, label)


def load_hub(text: str, wanted: Wanted) -> Dataset:
    """A data set of the hub, or of a folder of ``save_to_disk``, by its splits train, validation and test.

    Up to 64 pixels a side the images are decoded once and held in memory, with their own mean and standard
    deviation and random crops (padding of an eighth); larger ones stay in the library's files.

    Args:
        text: ``hf:NAME[:CONFIG]``; :meth:`Spec.of`.
        wanted: how a run wants pictures to be read.

    Raises:
        ImportError: the library is not installed, or so old that it could run code of the hub.
        FileNotFoundError: no such folder.
        ValueError: it cannot be loaded, has no such column, or no labels; or pictures cannot be read.
    """
    spec = Spec.of(text)
    tables, left = _parts(spec, _loaded(spec))
    train = tables["train"]
    image, label = chosen_columns(text, train.features, spec.image, spec.label)
    classes = classes_of(text, train, label)
    listings, notes = {}, [_taken(image, label, tables, train.features)]
    notes += [f"not read: {left}"] if left else []
    for part, table in tables.items():
        y = ids_of(text, part, table, label, classes)
        if y is None:
            notes.append(f"not read: the {part} split, which has no labels (they are -1)")
        else:
            listings[part] = _listing(f"{part} in {text}", table, image, y)
    return _dataset(spec, classes, listings, wanted, notes)


def _dataset(
    spec: Spec, classes: tuple[str, ...], listings: dict[str, Listing], wanted: Wanted, notes: list[str]
) -> Dataset:
    size = wanted.size or (common_side(listings["train"][0][:32]),) * 2
    guessed = max(size) if wanted.size is None else None
    without_images = len(classes) - len(listings["train"][1].unique())
    if without_images:
        notes.append(f"{without_images} of {count(len(classes), 'class')} have no training image")
    if guessed is not None and guessed > SMALL:
        notes.append(guess(size))
    name = shown(spec.name or Path(str(spec.folder)).absolute().name)
    return from_files(name, classes, listings, size, wanted, guessed=guessed, notes=notes)


def _listing(name: str, table: Any, image: str, y: Tensor) -> Listing:
    column = Column(name, table, image)
    return tuple(Stored(column, row, size) for row, size in enumerate(column.sizes())), y


def _loaded(spec: Spec) -> Any:
    """A table of the library, or its tables by the names of their splits."""
    require("hf", f"--data {spec.whole}")
    import datasets

    if int(datasets.__version__.partition(".")[0]) < WITHOUT_CODE:
        raise ImportError(
            f"datasets {datasets.__version__} can run code of the hub; install {WITHOUT_CODE} or later: pip "
            "install --upgrade datasets"
        )
    if spec.folder is not None:
        require_saved(spec.folder)
    try:
        if spec.folder is not None:
            return datasets.load_from_disk(str(spec.folder))
        return datasets.load_dataset(spec.name, spec.config)
    # The hub, the network and the readers of many formats raise all kinds of errors.
    except Exception as error:
        why = first_line(error)
        hint = (
            "save it again by save_to_disk"
            if spec.folder is not None
            else "is the name right, and is there a network? A data set that save_to_disk has saved is given "
            "by its path, hf:./FOLDER"
        )
        raise ValueError(f"{spec.whole} cannot be loaded: {why}; {hint}") from error


def _parts(spec: Spec, found: Any) -> tuple[dict[str, Any], str]:
    """Our names of the splits -> their tables, and which are left out, in words.

    Raises:
        ValueError: no training split, or two for one.
    """
    if not isinstance(found, Mapping):
        return {"train": found}, ""
    chosen: dict[str, str] = {}
    for name in found:
        part = next((part for part in PARTS if name.lower() in PARTS[part]), None)
        if part in chosen:
            raise ValueError(
                f"{spec.whole} has both {chosen[part]} and {name}, and either could be its {part} split; "
                "save the one by save_to_disk and name it by its path"
            )
        if part is not None:
            chosen[part] = name
    if "train" not in chosen:
        raise ValueError(f"{spec.whole} has no split train; its splits are {', '.join(found)}")
    others = [name for name in found if name not in chosen.values()]
    left = [f"split {name} ({count(len(found[name]), 'row')})" for name in others]
    return {part: found[name] for part, name in chosen.items()}, ", ".join(left)


def _taken(image: str, label: str, tables: Mapping[str, Any], features: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{part} {len(table):,}" for part, table in tables.items())
    left = [name for name in features if name not in (image, label)]
    beside = f"; columns left: {', '.join(left)}" if left else ""
    return f"images of column {image}, labels of column {label} ({splits}){beside}"


def is_hub(text: str) -> bool:
    """Whether ``--data`` names a data set of the hub, or one in its library's form."""
    return text.startswith(PREFIX)
