"""``cohobate compare``: several methods on the same images, the same way, over seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import Field

from ..config.checking import checked
from ..config.files import read_config
from ..config.grammar import parse
from ..config.groups import Group, Images, Training
from ..papers.setups import find_setup
from ..runs.layout import RunFolder
from .console import show
from .parsing import SETUP, WHOLE, parsed, value_of
from .published import named_folder, reported, shared_options, with_setup

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..report.tables.comparison import Comparison
    from .prepare import Prepared, Read


def compare(
    methods: Sequence[str],
    seeds: Sequence[int],
    training: Training,
    out: Path | None = None,
    *,
    setup: str | None = None,
    quiet: bool = False,
) -> tuple[Comparison, list[Path]]:
    """Train the runs that are missing, read the finished ones, write the table and the page.

    Args:
        methods: names, each with options of its own if wanted (:func:`cohobate.config.grammar.parse`). Gains
            are over ``baseline`` if it is among them, else over the first.
        seeds: each trains every method once; gains are paired by seed.
        training: shared by all; its ``seed`` is not used.
        out: folder of the comparison; by default ``runs/<data>-<model>``, or ``runs/<set-up>``.
        setup: name of the set-up (:mod:`cohobate.papers.setups`) whose options of single methods count.

    Returns:
        The comparison and the files written (by the first process).

    Raises:
        Stopped, RunError, ValueError: see :func:`cohobate.train`. All methods are checked before one is
            trained.
    """
    from ..engine import distributed
    from ..report.files import comparison_files
    from ..report.tables.comparison import compare as tabulate
    from ..runs.folder import default_root, seed_folder, write_files
    from ..runs.reading import read_run
    from .prepare import prepare
    from .running import run

    started = time.monotonic()
    named = default_root(training) if setup is None else named_folder(training, setup)
    root = named if out is None else out
    configs = [configure(spec, training, setup) for spec in dict.fromkeys(methods)]
    probed: dict[str, Any] = {}
    with distributed.process_group(distributed.pick_device(training.device)):
        read = reader()
        prepared = reported([prepare(method, config, read) for method, config in configs], training.readout)
        runs = [
            (each, seed, RunFolder(seed_folder(root, each.label, seed)))
            for seed in dict.fromkeys(seeds)
            for each in prepared
        ]
        check(runs)
        computed: dict[int, dict[str, Any]] = {}
        for each, seed, folder in runs:
            minutes = minutes_left(training.max_minutes, started)
            now = each.having(seed=seed, max_minutes=minutes, **probed)
            run(with_computed(now, folder, computed.get(id(each), {})), folder, checked=True, quiet=quiet)
            # The precision that the first run measured is used for all runs of the comparison.
            recorded = read_config(folder.config)
            probed = {key: recorded[key] for key in ("precision", "layout")}
            computed.setdefault(id(each), computed_in(folder))
        distributed.barrier()
        done = [read_run(folder.path).reporting(each.config.readout) for each, _, folder in runs]
        labels = [each.label for each in prepared]
        table = tabulate(done, "baseline" if "baseline" in labels else labels[0])
        written = write_files(root, comparison_files(table, done)) if distributed.rank() == 0 else []
    return table, written


def reader() -> Read:
    """A function that reads the images of a run, and remembers them for other runs on the same data."""
    from .feeds import read_data

    known: dict[Any, Dataset] = {}

    def read(config: Training) -> Dataset:
        key = tuple(getattr(config, name) for name in (*Images.model_fields, "data_root"))
        if key not in known:
            known[key] = read_data(config)
        return known[key]

    return read


def check(runs: Sequence[tuple[Prepared, int, Any]]) -> None:
    """Check each configuration that has still to begin, once whatever its seeds, before any is trained."""
    begun = {id(each): True for each, _, folder in runs if each.has_begun(folder)}
    for each in {id(each): each for each, _, _ in runs}.values():
        if id(each) not in begun:
            each.check()


def with_computed(each: Prepared, folder: RunFolder, computed: Mapping[str, Any]) -> Prepared:
    """A run with the values that the method computed with the first seed, for options that were not given.

    A run that has begun without them, before the comparison, goes on as it began.
    """
    left = {key: value for key, value in computed.items() if each.options.get(key, value) is None}
    return each if not left or each.has_begun(folder) else each.given(**left)


def computed_in(folder: RunFolder) -> dict[str, Any]:
    """Option -> value that a finished run's method computed; older results record none."""
    recorded: dict[str, Any] = json.loads(folder.result.read_text()).get("computed", {})
    return recorded


def configure(spec: str, training: Training, setup: str | None = None) -> tuple[str, Training]:
    """The method of a spec and its checked options on top of the set-up's and the shared ones."""
    method, own = parse(spec)
    return method, with_setup(method, {**shared_options(method, training, setup), **own}, setup)


def minutes_left(minutes: float | None, started: float) -> float | None:
    """The rest of the allowed minutes; raises :class:`Stopped` when they are over."""
    from ..engine.errors import Stopped

    if minutes is None:
        return None
    left = minutes - (time.monotonic() - started) / 60
    if left <= 0:
        message = f"stopped (the {minutes:g} minutes given are over); run the same command again to go on"
        raise Stopped(message, 75)
    return left


# ---------------------------------------------------------------- command line


class Command(Group):
    """The methods to compare and the folder of the table."""

    methods: Annotated[tuple[str, ...], tyro.conf.Positional, WHOLE] = Field(
        ("baseline", "self_guidance"),
        description="Methods by name, with options of their own after a colon: "
        "self_guidance:weight=0.5,survival=0.8.",
    )
    seeds: tuple[int, ...] = Field((0, 1), description="Seeds; every method is trained once with each.")
    setup: str | None = Field(None, description=SETUP)
    out: Path | None = Field(
        None, description="Folder of the comparison; by default runs/DATA-MODEL, or runs/SETUP."
    )
    quiet: bool = Field(False, description="Print only the table at the end.")


ABOUT = "Train missing runs, reuse finished ones, print and write one table. Gains are paired by seed."


def main(arguments: list[str]) -> None:
    """Train METHOD ... over seeds, print and write one table."""
    setup = value_of(arguments, "--setup")
    initial = {} if setup is None else dict(find_setup(setup).options)
    chosen, command = parsed(
        "cohobate compare", arguments, Command, initial=initial, hidden=("seed",), about=ABOUT
    )

    comparison, written = compare(
        command.methods,
        command.seeds,
        checked("compare", Training, chosen),
        command.out,
        setup=command.setup,
        quiet=command.quiet,
    )
    if written:
        from ..report.tables.table import to_rich

        show(to_rich(comparison))
        print("\n".join(str(path) for path in written))
