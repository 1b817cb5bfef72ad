"""Columns of a table of Hugging Face's ``datasets``: which are images and labels, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor

from ..config.objects import nearest

ROWS = 1000
"""Rows that are looked at together."""
KINDS = (
    *("ClassLabel", "string", "large_string"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
)
"""Types of a column of labels."""


@final
class Column:
    """Encoded pictures in a column of a table.

    Args:
        name: for messages.
        table: that has the column.
        column: its name, of type Image.
    """

    def __init__(self, name: str, table: Any, column: str) -> None:
        import datasets

        self._name, self._column = name, column
        self._table = table.with_format(None).select_columns([column])
        # Undecoded: a picture is read as one in a file is.
        self._table = self._table.cast_column(column, datasets.Image(decode=False))

    def __str__(self) -> str:
        return self._name

    def picture(self, row: int) -> bytes:
        """The content of what would be a file."""
        return self._table[row][self._column]["bytes"]  # type: ignore[no-any-return]

    def sizes(self) -> Iterator[int]:
        """Bytes of each picture.

        Raises:
            ValueError: a row has none; a path in its place is not followed.
        """
        import pyarrow.compute as pc

        row = 0
        for batch in self._table.with_format("arrow").iter(ROWS):
            sizes = pc.binary_length(pc.struct_field(batch.column(self._column), "bytes"))
            for size in sizes.to_pylist():
                if size is None:
                    raise ValueError(
                        f"row {row} of {self} holds no picture (a path to a file is not followed); leave "
                        "such rows out, and save the data set by save_to_disk, which stores pictures"
                    )
                yield size
                row += 1


def chosen_columns(
    whose: str, features: Mapping[str, Any], image: str | None, label: str | None
) -> tuple[str, str]:
    """Names of the columns of images and labels: those asked for, else the only ones of such a type.

    Raises:
        ValueError: no such column, one of another type, none, or several.
    """
    images = [name for name in features if kind(features[name]) == "Image"]
    labels = [name for name in features if kind(features[name]) == "ClassLabel"]
    others = [name for name in features if kind(features[name]) in KINDS]
    return (
        _chosen(whose, features, "image", image, images, images),
        _chosen(whose, features, "label", label, labels, others),
    )


def _chosen(
    whose: str,
    features: Mapping[str, Any],
    what: str,
    asked: str | None,
    found: list[str],
    possible: list[str],
) -> str:
    if asked is not None and asked not in features:
        raise ValueError(f"{whose} has no column {asked!r}; the nearest are {nearest(asked, features)}")
    if asked is not None and asked not in possible:
        needed = "Image" if what == "image" else "ClassLabel, a text or a whole number"
        raise ValueError(
            f"column {asked} of {whose} is of type {kind(features[asked])}, and {needed} is needed"
        )
    if asked is not None:
        return asked
    if len(found) == 1:
        return found[0]
    have = ", ".join(f"{name} ({kind(feature)})" for name, feature in features.items())
    if found:
        raise ValueError(
            f"{whose} has {len(found)} columns of {what}s; name one: "
            f"{' or '.join(f':{what}={name}' for name in found)}"
        )
    remedy = f"; name one by :label=COLUMN: {', '.join(possible)}" if possible else ""
    raise ValueError(f"{whose} has no column of {what}s; its columns are {have}{remedy}")


def kind(feature: Any) -> str:
    """The type of a column, in a word: Image, ClassLabel, string, int64 ..."""
    return str(getattr(feature, "dtype", "") if type(feature).__name__ == "Value" else type(feature).__name__)


def classes_of(whose: str, train: Any, label: str) -> tuple[str, ...]:
    """Names of the classes: those of the column, else the texts or numbers of the training rows, sorted.

    Raises:
        ValueError: a training row without a label, or one class alone.
    """
    feature = train.features[label]
    if kind(feature) == "ClassLabel":
        return tuple(feature.names)
    values = set(_values(train, label))
    if None in values:
        raise ValueError(f"{whose} has training rows without a label in column {label}; leave them out")
    return tuple(map(str, sorted(values)))


def ids_of(whose: str, part: str, table: Any, label: str, classes: tuple[str, ...]) -> Tensor | None:
    """(N,) labels of a split; None: it has none.

    Raises:
        ValueError: some have a label and others none, a class that train does not have, or no row.
    """
    values = _values(table, label)
    if not values:
        raise ValueError(f"the {part} split of {whose} has no row")
    if kind(table.features[label]) == "ClassLabel":
        own = tuple(table.features[label].names)
        if own != classes:
            raise ValueError(f"the {part} split of {whose} has other classes than train: {own[:5]}")
        unlabelled = [value is None or value == -1 for value in values]
        if all(unlabelled) and part != "train":
            return None
        if any(unlabelled):
            raise ValueError(
                f"row {unlabelled.index(True)} of {part} in {whose} has no label in column {label}; leave "
                "such rows out, and save the data set by save_to_disk"
            )
        ids = values
    else:
        place = {name: number for number, name in enumerate(classes)}
        unknown = next((value for value in values if str(value) not in place), place)
        if unknown is not place:
            raise ValueError(f"the {part} split of {whose} has a class {unknown!r} that train does not have")
        ids = [place[str(value)] for value in values]
    y = torch.tensor(ids)
    if int(y.min()) < 0 or int(y.max()) >= len(classes):
        raise ValueError(
            f"labels of {part} in {whose} run from {int(y.min())} to {int(y.max())}, and {len(classes)} "
            f"classes need 0 to {len(classes) - 1}"
        )
    return y


def _values(table: Any, column: str) -> list[Any]:
    return table.with_format("arrow").select_columns([column])[:].column(column).to_pylist()  # type: ignore[no-any-return]
