"""``cohobate compare``: several methods on the same images, the same way, over seeds."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import Field

from ..config.checking import checked
from ..config.files import read_config
from ..config.grammar import flag, parse
from ..config.groups import Group, Images, Teacher, Training
from ..config.idle import refuse_idle
from ..config.words import count
from ..papers.setups import find_setup
from ..runs.layout import RunFolder
from .console import show
from .parsing import CONFIG, SETUP, WHOLE, config_file, given, parsed, shared_options, value_of
from .published import named_folder, options_of_one, reported, with_setup

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

    A run whose loss diverges is recorded as such and the others are trained; the same comparison again
    tries it again from its last good state. Where several processes train one run it ends the comparison.

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
        RunError: every run diverged.
    """
    from ..engine import distributed
    from ..engine.errors import RunError
    from ..engine.progress import Display
    from ..report.files import comparison_files
    from ..report.tables.comparison import compare as tabulate
    from ..runs.folder import default_root, seed_folder, write_files
    from ..runs.reading import read_run
    from .prepare import prepare

    named = default_root(training) if setup is None else named_folder(training, setup)
    root = named if out is None else out
    for what, values in {"method": methods, "seed": seeds}.items():
        require_different(what, values)
    configs = [configure(spec, training, setup) for spec in methods]
    with distributed.process_group(distributed.pick_device(training.device)):
        if training.teacher and not any(map(needs_teacher, methods)):
            teachers = ", ".join(training.teacher)
            display = Display(quiet=quiet or distributed.rank() > 0)
            display.say(f"note: no method here takes a teacher, so {teachers} is not used")
        read = reader(quiet)
        prepared = reported([prepare(method, config, read) for method, config in configs], training.readout)
        require_different("method", [each.label for each in prepared])
        runs = [
            (each, seed, RunFolder(seed_folder(root, each.label, seed)))
            for seed in seeds
            for each in prepared
        ]
        check(runs)
        diverged = _train(runs, training, quiet)
        distributed.barrier()
        labels = [each.label for each in prepared]
        # Method by method, whatever a method's first seed that did not diverge.
        runs.sort(key=lambda run: labels.index(run[0].label))
        done = [read_run(folder.path).reporting(each.config.readout) for each, _, folder in runs]
        finished = [run for run in done if run.result is not None]
        if not finished:
            message = next(message for messages in diverged.values() for message in messages.values())
            raise RunError(f"every run diverged, so there is nothing to compare; of the first: {message}")
        table = tabulate(finished, "baseline" if "baseline" in labels else labels[0], diverged)
        written = write_files(root, comparison_files(table, done)) if distributed.rank() == 0 else []
    return table, written


def _train(
    runs: Sequence[tuple[Prepared, int, RunFolder]], training: Training, quiet: bool
) -> dict[str, dict[int, str]]:
    """Train each run; of those that diverged, label -> seed -> message."""
    from ..engine import distributed
    from ..engine.progress import Display
    from .attempts import attempt

    started = time.monotonic()
    display = Display(quiet=quiet or distributed.rank() > 0)
    diverged: dict[str, dict[int, str]] = {}
    probed: dict[str, Any] = {}
    computed: dict[int, dict[str, Any]] = {}
    for each, seed, folder in runs:
        minutes = minutes_left(training.max_minutes, started)
        now = each.having(seed=seed, max_minutes=minutes, **probed)
        now = with_computed(now, folder, computed.get(id(each), {}))
        message = attempt(now, folder, quiet=quiet)
        if message is not None:
            display.say(f"{each.label} seed {seed} diverged: {message}")
            diverged.setdefault(each.label, {})[seed] = message
        else:
            computed.setdefault(id(each), computed_in(folder))
        # The precision that the first run measured is used for all runs of the comparison.
        recorded = read_config(folder.config)
        probed = {key: recorded[key] for key in ("precision", "layout")}
    return diverged


def require_different(what: str, values: Sequence[Any]) -> None:
    """Raise a ValueError if there is none, or one stands twice."""
    if not values:
        raise ValueError(f"give at least one {what}")
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{what} {value} stands twice; give each once")


def reader(quiet: bool) -> Read:
    """A function that reads the images of a run, and remembers them for other runs on the same data."""
    from ..engine import distributed
    from ..engine.progress import Display
    from .images import read_data

    say = Display("", quiet or distributed.rank() > 0).say
    known: dict[Any, Dataset] = {}

    def read(config: Training) -> Dataset:
        key = tuple(getattr(config, name) for name in (*Images.model_fields, "data_root"))
        if key not in known:
            known[key] = read_data(config, say)
        return known[key]

    return read


def check(runs: Sequence[tuple[Prepared, int, Any]]) -> None:
    """Check each folder, and each configuration that has still to begin, before any run is trained."""
    begun = {id(each): True for each, _, folder in runs if each.has_begun(folder)}
    for each in {id(each): each for each, _, _ in runs}.values():
        if id(each) not in begun:
            each.check()
    first: dict[int, RunFolder] = {}
    for each, seed, folder in runs:
        # Later seeds have begun with what the first one computed.
        leader = first.setdefault(id(each), folder)
        computed = computed_in(leader) if leader.finished else {}
        with_computed(each.having(seed=seed), folder, computed).require_own(folder)


def with_computed(each: Prepared, folder: RunFolder, computed: Mapping[str, Any]) -> Prepared:
    """A run with the values that the method computed with the first seed, for options that were not given.

    A run that has begun without them, before the comparison, goes on as it began.
    """
    left = {key: value for key, value in computed.items() if each.options.get(key, value) is None}
    return each if not left or each.has_begun(folder) else each.given(**left)


def computed_in(folder: RunFolder) -> dict[str, Any]:
    """Option -> value that a finished run's method computed; older results record none."""
    from ..runs.reading import read_run

    recorded: dict[str, Any] = read_run(folder.path).outcome.get("computed", {})
    return recorded


def configure(spec: str, training: Training, setup: str | None = None) -> tuple[str, Training]:
    """The method of a spec and its checked options on top of the set-up's and the shared ones."""
    method, own = parse(spec)
    config = with_setup(method, {**options_of_one(method, training, setup), **own}, setup)
    refuse_idle(own, dict(config))
    return method, config


def minutes_left(minutes: float | None, started: float) -> float | None:
    """The rest of the allowed minutes; raises :class:`Stopped` when they are over."""
    from ..engine.errors import Stopped
    from ..engine.signals import over

    if minutes is None:
        return None
    left = minutes - (time.monotonic() - started) / 60
    if left <= 0:
        message = f"stopped ({over(minutes)}); run the same command again to go on"
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
    config: Path | None = Field(None, description=CONFIG)
    setup: str | None = Field(None, description=SETUP)
    out: Path | None = Field(
        None, description="Folder of the comparison; by default runs/DATA-MODEL, or runs/SETUP."
    )
    quiet: bool = Field(False, description="Print only the table at the end.")


def recorded_options(arguments: Sequence[str]) -> dict[str, Any]:
    """The options of every run in the file of ``--config``; a note says which others are left out.

    Raises:
        ValueError: an option that there is not, or that does not take its value.
    """
    options, file = config_file(arguments), value_of(arguments, "--config")
    if (method := options.pop("method", None)) is not None:
        options = shared_options(options, f"{file} is a run of {method}", without=["seed"])
    elif "seed" in options:
        raise ValueError(f"{file}: a comparison has --seeds and no seed; leave it out")
    try:
        return checked("compare", Training, options).model_dump(exclude_unset=True)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def needs_teacher(spec: str) -> bool:
    """Whether the method of a spec takes a teacher."""
    from ..recipes.recipe import find

    return find(parse(spec)[0]).needs_teacher


ABOUT = "Train missing runs, reuse finished ones, print and write one table. Gains are paired by seed."


def main(arguments: list[str]) -> None:
    """Train METHOD ... over seeds, print and write one table."""
    setup = value_of(arguments, "--setup")
    initial = {} if setup is None else dict(find_setup(setup).options)
    initial |= recorded_options(arguments)
    chosen, command = parsed(
        "cohobate compare", arguments, Command, initial=initial, hidden=("seed",), about=ABOUT
    )
    unused = given(arguments, Teacher.model_fields)
    if unused and not any(map(needs_teacher, command.methods)):
        flags = " and ".join(flag(name) for name in Teacher.model_fields if name in unused)
        raise ValueError(f"no method here takes a teacher: {', '.join(command.methods)}; leave {flags} out")
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
    if comparison.diverged:
        lost = sum(map(len, comparison.diverged.values()))
        whole = lost + sum(entry.last.n for entry in comparison.entries)
        sys.exit(f"{lost} of {count(whole, 'run')} diverged")
