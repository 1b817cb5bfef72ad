"""The options and the folder of a run with a published set-up (``--setup``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.groups import Training
from ..papers.setups import find_setup
from ..recipes.options import for_method, options

if TYPE_CHECKING:
    from .prepare import Prepared


def with_setup(method: str, values: Mapping[str, Any], setup: str | None) -> Training:
    """Checked options, with those of the set-up that follow from others (:meth:`Setup.follows`).

    Args:
        method: by name.
        values: all options that were chosen, those of the set-up among them.
        setup: name of the set-up; None: nothing is added.

    Raises:
        ValueError: as :func:`cohobate.recipes.options.options`.
    """
    config = options(method, values)
    if setup is None:
        return config
    following = find_setup(setup).follows(method, config.model_dump())
    return options(method, {**values, **following}) if following else config


def options_of_one(method: str, training: Training, setup: str | None) -> dict[str, Any]:
    """The options of one of several methods: the shared ones, and the set-up's of this method.

    Of the set-up's, those that every run has count unless the shared ones were chosen otherwise: a flag
    overrides a set-up.
    """
    shared = {key: getattr(training, key) for key in Training.model_fields}
    values = for_method(method, shared)
    if setup is None:
        return values
    published = find_setup(setup)
    usual = Training.model_construct().model_dump() | dict(published.options)
    own = published.own(method)
    return values | {key: own[key] for key in own if key not in usual or shared[key] == usual[key]}


def reported(runs: Sequence[Prepared], readout: str | None) -> list[Prepared]:
    """The runs of a comparison, of which those without the read-out named for all report the deployed one.

    Raises:
        ValueError: none of them has it.
    """
    asked = [each for each in runs if readout is not None and each.config.readout == readout]
    known = {id(each): each.readouts() for each in asked}
    if asked and not any(readout in names for names in known.values()):
        names = "; ".join(f"{each.label}: {', '.join(known[id(each)])}" for each in asked)
        raise ValueError(f"no method has a read-out {readout!r}; the read-outs are: {names}")
    return [
        each.having(readout=None) if readout not in known.get(id(each), (readout,)) else each for each in runs
    ]


def named_folder(training: Training, setup: str, *before: str, swept: str | None = None) -> Path:
    """The folder of runs with a set-up and without ``--out``: ``runs/<set-up>``.

    The set-up is followed by the names of data, model and teacher that are not its own.

    Args:
        training: options of the runs.
        setup: name of the set-up.
        before: words that the folder's name begins with.
        swept: option that differs between the runs, which is left out.
    """
    from ..config.sizes import size_of
    from ..runs.names import joined_name

    published = {**Training.model_construct().model_dump(), **find_setup(setup).options}
    data, teacher = Path(training.data).name, "-".join(training.teacher)
    size = "x".join(map(str, size_of(training.image_size or 0)))
    values = {"data": data, "image_size": size, "model": training.model, "teacher": teacher}
    # A method that takes no teacher left it out: its runs lie beside those of the methods that take one.
    changed = [key for key in values if getattr(training, key) not in (published[key], ())]
    names = (values[key] for key in changed if key != swept)
    return Path("runs") / joined_name([*before, setup.replace("/", "-"), *names])
