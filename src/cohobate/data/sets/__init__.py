"""The data sets that have a name: each is a file in this folder and a line in :data:`SETS`.

The list can be read without torch: a file is imported when its data set is asked for (:func:`source`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from ..dataset import Dataset

SETS: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8, that come with scikit-learn; nothing to download",
    "cifar10": "CIFAR-10: 60,000 images, 32x32, 10 classes; the published files or archive",
    "cifar100": "CIFAR-100: 60,000 images, 32x32, 100 classes; the published files or archive",
}
"""Name of a data set, which is that of its file -> its description in a line."""


class Whereabouts(NamedTuple):
    """Where a data set is, by the names of its files; none is opened.

    Attributes:
        looked_for: folders and files that were looked for, in words.
        place: the folder or file that holds it; None where there is none.
        files: what there is of it, with the sizes in bytes.
        lacking: files that the place should hold and does not.
    """

    looked_for: str
    place: Path | None
    files: dict[str, int]
    lacking: tuple[str, ...]


class Source(Protocol):
    """The interface of the module of a data set."""

    def load(self, root: Path) -> Dataset:
        """The data set, from the folder where data sets lie.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: its files are damaged.
        """

    def is_in(self, folder: Path) -> bool:
        """Whether a folder holds it, so that it can be named by its path as well."""

    def whereabouts(self, root: Path) -> Whereabouts:
        """Where :meth:`load` would read it."""


def source(name: str) -> Source:
    """The file of a data set in :data:`SETS`."""
    return cast(Source, import_module(f".{name}", __name__))
