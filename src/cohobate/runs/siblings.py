"""The runs that lie beside a run and were trained like it: with other seeds, or as its baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..config.files import read_config
from ..config.groups import Bookkeeping, Teacher, Training
from .layout import RunFolder
from .reading import Run, read_run

BASELINE = "baseline"
"""The method without distillation, and the beginning of the names of its folders."""
SEEDS = "seed-*"
"""Folders of the seeds of one method (:func:`cohobate.runs.folder.seed_folder`)."""

Counts = Callable[[str], bool]
"""Whether an option, by its name, must be the same in two runs."""


class Beside(NamedTuple):
    """Runs trained alike, but for their seeds.

    Attributes:
        runs: finished ones, by seed.
        left_out: name of a folder -> why its run is not among them.
    """

    runs: tuple[Run, ...]
    left_out: Mapping[str, str]


def siblings(run: Run) -> Beside:
    """A finished run and those beside it, in folders ``seed-*``, that differ from it by their seed only.

    All are reported by the read-out of the run.
    """
    own = run.folder.resolve()
    others = [folder for folder in sorted(own.parent.glob(SEEDS)) if folder != own]
    found = _alike({run.outcome["seed"]: run}, others, run, own.parent, every_option)
    return found._replace(runs=tuple(each.reporting(run.readout) for each in found.runs))


def baselines(run: Run) -> Beside:
    """The runs of the baseline beside the folder of a run's method that were trained the same way.

    The method, its own options and those about teachers may differ; nothing is beside a baseline. They are
    reported by the network that they deploy.
    """
    if run.method == BASELINE:
        return Beside((), {})
    own = run.folder.resolve()
    root = own.parent.parent
    folders = [
        folder
        for name in sorted(root.glob(f"{BASELINE}*"))
        if name != own.parent
        for folder in (sorted(name.glob(SEEDS)) or [name])
        if _method(folder) in (BASELINE, None)
    ]
    found = _alike({}, folders, run, root, shared_option)
    return found._replace(runs=tuple(each.reporting(None) for each in found.runs))


def _method(folder: Path) -> str | None:
    """The method of the run in a folder; None where there is none, or its file cannot be read."""
    try:
        return str(read_config(RunFolder(folder).config).get("method"))
    except (OSError, ValueError):
        return None


def _alike(found: dict[int, Run], folders: list[Path], run: Run, root: Path, counts: Counts) -> Beside:
    left_out = {}
    for folder in folders:
        if not RunFolder(folder).config.is_file():
            continue
        other, why = _counted(folder, run, found, counts)
        if other is not None:
            found[other.outcome["seed"]] = other
        else:
            left_out[str(folder.relative_to(root))] = why
    return Beside(tuple(found[seed] for seed in sorted(found)), left_out)


def _counted(folder: Path, run: Run, found: Mapping[int, Run], counts: Counts) -> tuple[Run | None, str]:
    """The run in a folder, or None and why it does not count."""
    try:
        other = read_run(folder)
    except ValueError as error:
        return None, f"it cannot be read: {error}"
    if why := ", ".join(apart(run, other, counts)):
        return None, f"it was trained otherwise: {why}"
    if other.failure:
        return None, f"it has diverged: {other.failure.partition(';')[0]}"
    if other.result is None:
        return None, "it has not finished"
    seed = other.result["seed"]
    if seed in found:
        return None, f"its seed, {seed}, is that of {found[seed].folder.name}"
    return other, ""


def every_option(name: str) -> bool:
    """For runs of one method: all that can move a weight, but for the seed."""
    return name != "seed" and name not in Bookkeeping.model_fields


def shared_option(name: str) -> bool:
    """For runs of two methods: what both were told about images, network and optimisation."""
    return every_option(name) and name in Training.model_fields and name not in Teacher.model_fields


def apart(one: Run, other: Run, counts: Counts) -> Iterator[str]:
    """What differs between two runs: ``epochs 8 here, 4 there``.

    Args:
        one, other: "here" and "there".
        counts: says which options are compared; the images always are.
    """
    both = _options(one), _options(other)
    for name in filter(counts, dict.fromkeys(["method", *both[0], *both[1]])):
        here, there = (options.get(name) for options in both)
        if here != there:
            yield f"{name.replace('_', ' ')} {_said(here)} here, {_said(there)} there"
    prints = [run.provenance.get("data_fingerprint") for run in (one, other)]
    # That of a run with unlabelled images is of these, too.
    same_images = both[0].get("unlabelled") == both[1].get("unlabelled")
    if same_images and None not in prints and prints[0] != prints[1]:
        yield "other images"


def _options(run: Run) -> dict[str, Any]:
    """What was asked for, what is now the default where an older run does not say, and what was computed."""
    defaults = Training.model_construct().model_dump(mode="json", warnings=False)
    options = defaults | run.config
    # A comparison gives what the method computed with the first seed to the others.
    computed = (run.result or {}).get("computed", {})
    options |= {key: value for key, value in computed.items() if options.get(key) is None}
    if not options["teacher"]:
        options |= {name: defaults[name] for name in Teacher.model_fields}
    return options


def _said(value: object) -> str:
    return "not given" if value is None else str(value)
