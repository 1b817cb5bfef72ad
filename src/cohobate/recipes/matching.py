"""Teachers that are given from Python: their classes and images, matched with those of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from ..core import Frozen, Method, Shape, match_classes, names_of, refuse_wrapped
from ..data.dataset import Dataset
from ..models.surgery.normalised import Renormalised
from ..models.surgery.probe import WrongImagesError, look


def show_as(network: nn.Module, dataset: Dataset) -> None:
    """Tell a teacher of :func:`cohobate.teacher`, or several in a mean, how its input is normalised."""
    for module in network.modules():
        if isinstance(module, Renormalised):
            module.given((dataset.mean, dataset.std))


def settle(
    method: Method,
    dataset: Dataset,
    say: Callable[[str], None],
    *,
    by_position: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Match the frozen teachers of a method with the data: images, and classes where they have names.

    Raises:
        ValueError: a network is wrapped by DataParallel, or a teacher has classes of other names.
    """
    refuse_wrapped(method)
    for frozen in _teachers(method):
        show_as(frozen.network, dataset)
        if (names := names_of(frozen)) is None:
            continue
        matching = match_classes(
            names,
            dataset.classes,
            "the teacher",
            by_position=by_position,
            renamed=renamed,
            remedy="; classes that were only renamed: renamed_classes=('OLD=NEW',); "
            "match_classes='by_position' takes them as they stand",
        )
        if matching.note is not None:
            say(f"note: {matching.note}")
        if matching.order is not None:
            frozen.reorder(matching.order, dataset.classes)


def refuse_size(method: Method, shape: Shape) -> None:
    """Raise a ValueError if a frozen teacher of a method does not take the images of a run.

    Args:
        method: one that has failed on them: a teacher may be shown something else.
        shape: (C, H, W) of the images.
    """
    for frozen in _teachers(method):
        try:
            look(frozen.network, shape)
        except WrongImagesError as error:
            raise ValueError(
                f"the teacher {error}; if it was made for images of another size: "
                "cohobate.teacher(network, size=...) resizes them for it"
            ) from error


def _teachers(method: Method) -> list[Frozen]:
    return [module for module in method.modules() if isinstance(module, Frozen)]
