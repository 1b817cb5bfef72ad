"""Classes by name: the order in which a network's outputs stand, matched with that of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SHOWN = 3
"""Number of names that a message shows."""


class Matching(NamedTuple):
    """How the outputs of a network are matched with the classes of the data.

    Attributes:
        order: for each class of the data, the position of its output; None if they stand as they should.
        note: a sentence for the user; None if there is nothing to say.
    """

    order: tuple[int, ...] | None = None
    note: str | None = None


def match_classes(
    theirs: Sequence[str] | None,
    ours: Sequence[str],
    who: str,
    *,
    by_position: bool = False,
    renamed: Mapping[str, str] | None = None,
    remedy: str = "",
) -> Matching:
    """Match the classes of a network with those of the data, by name.

    Args:
        theirs: names of the network's classes, in the order of its outputs; None if nobody recorded them.
        ours: names of the data's classes.
        who: the network, for messages.
        by_position: take the classes as they stand, whatever their names.
        renamed: name of a class of the network -> its name in the data.
        remedy: what to do if the names differ, for the message.

    Raises:
        ValueError: another number of classes, other names, or a renamed class that there is not.
    """
    if theirs is None:
        return Matching(
            note=f"{who} does not name its classes; their order is taken on trust to be that of the data"
        )
    if len(theirs) != len(ours):
        raise ValueError(f"{who} predicts {len(theirs)} classes, the data has {len(ours)}")
    for old, new in (renamed or {}).items():
        if new not in ours or not {old, new} & set(theirs):
            raise ValueError(
                f"class {old!r} is renamed {new!r}, but {who} has {_some(theirs)}, and the data {_some(ours)}"
            )
    named = [(renamed or {}).get(name, name) for name in theirs]
    if named == list(ours):
        return Matching()
    if by_position:
        return Matching(
            note=f"the classes of {who} are {_some(theirs)}, those of the data {_some(ours)}; they are taken "
            "by position"
        )
    if sorted(named) == sorted(ours) and len(set(named)) == len(named):
        order = tuple(named.index(name) for name in ours)
        return Matching(
            order,
            f"{who} has its classes in another order ({_some(named)}{', renamed' if renamed else ''}; the "
            f"data {_some(ours)}); they are matched by name",
        )
    if _numbered(named) != _numbered(ours):
        return Matching(
            note=f"the classes of {who} are {_some(theirs)}, those of the data {_some(ours)}: numbers are no "
            "names, so their order is taken on trust"
        )
    unknown, missing = ([n for n in one if n not in other] for one, other in ((named, ours), (ours, named)))
    raise ValueError(
        f"{who} has other classes than the data: {_some(unknown)} there, {_some(missing)} here{remedy}"
    )


def names_of(network: Any) -> tuple[str, ...] | None:
    """The names of the classes that a network predicts, if it carries them (``class_names``)."""
    names = getattr(network, "class_names", None)
    return None if names is None else tuple(names)


def _numbered(names: Sequence[str]) -> bool:
    """Whether the names are 0, 1, 2 ..., as data without names has them."""
    return list(names) == [str(k) for k in range(len(names))]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
