"""Several methods on the same images, the same way, over seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..config.groups import Training
from ..engine import distributed
from ..engine.errors import Stopped
from ..papers.setups import find_setup
from ..recipes.catalogue import OF_TEACHERS, label, options, takes_teacher
from ..report.files import comparison_files
from ..report.tables.comparison import Comparison
from ..report.tables.comparison import compare as tabulate
from ..runs.folder import default_folder, plain, read_config, write_files
from ..runs.reading import read_run
from .run import train


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """``method`` or ``method:option=value,option=value`` -> name and options.

    Raises:
        ValueError: a part that is not option=value.
    """
    name, _, given = spec.rpartition(":")
    if "=" not in given:
        return spec, {}
    pairs = {}
    for part in given.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} in {spec!r} is not option=value")
        pairs[key.strip()] = yaml.safe_load(value)
    return name, pairs


def compare(
    methods: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    out: Path | None = None,
    *,
    setup: str | None = None,
    quiet: bool = False,
) -> tuple[Comparison, list[Path]]:
    """Train what is missing, read what is done, write the table and the page.

    Args:
        methods: names, each with options of its own if wanted (:func:`parse`). Gains are over
            ``baseline`` if it is among them, else over the first.
        seeds: each trains every method once; gains are paired by seed.
        training: shared by all; its ``seed`` is not used.
        out: folder of the comparison; by default ``runs/<data>-<model>``.
        setup: name of the set-up (:mod:`cohobate.papers.setups`) whose options of single methods count.

    Returns:
        The comparison and the files written (by the first process).

    Raises:
        Stopped, RunError, ValueError: see :func:`cohobate.commands.run.train`.
    """
    started = time.monotonic()
    root = out if out is not None else default_folder("baseline", training).parent.parent
    configs = {spec: configure(spec, training, setup) for spec in dict.fromkeys(methods)}
    folders = []
    kept: dict[str, Any] = {}
    device = distributed.pick_device(training.device)
    with distributed.process_group(device):
        for seed in dict.fromkeys(seeds):
            for method, shared in configs.values():
                minutes = minutes_left(training.max_minutes, started)
                config = shared.model_copy(update={"seed": seed, "max_minutes": minutes, **kept})
                folder = root / plain(label(method, config)) / f"seed-{seed}"
                train(method, config, folder, quiet=quiet)
                # What the first run probed holds for all: one comparison, one precision.
                recorded = read_config(folder / "run.yaml")
                kept = {key: recorded[key] for key in ("precision", "layout")}
                folders.append(folder)
        distributed.barrier()
        runs = [read_run(folder) for folder in folders]
        labels = [label(method, config) for method, config in configs.values()]
        table = tabulate(runs, "baseline" if "baseline" in labels else labels[0])
        written = write_files(root, comparison_files(table, runs)) if distributed.rank() == 0 else []
    return table, written


def configure(spec: str, training: Training, setup: str | None = None) -> tuple[str, Training]:
    """The method of a spec and its checked options on top of the set-up's and the shared ones."""
    method, own = parse(spec)
    published = {} if setup is None else find_setup(setup).own(method)
    given = {**{key: getattr(training, key) for key in Training.model_fields}, **published, **own}
    if not takes_teacher(method):
        given |= {key: Training.model_fields[key].default for key in OF_TEACHERS}
    return method, options(method, given)


def minutes_left(minutes: float | None, started: float) -> float | None:
    """What is left of the minutes given; raises :class:`Stopped` when they are over."""
    if minutes is None:
        return None
    left = minutes - (time.monotonic() - started) / 60
    if left <= 0:
        message = f"stopped (the {minutes:g} minutes given are over); run the same command again to go on"
        raise Stopped(message, 75)
    return left
