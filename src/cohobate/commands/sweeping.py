"""One method over the values of one option: a run for each value and seed, one table, one figure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config.files import read_config
from ..config.grammar import parse
from ..config.groups import Images, Optimisation, Teacher, Training
from ..engine import distributed
from ..engine.progress import Display
from ..papers.setups import find_setup
from ..recipes.axis import check_values
from ..recipes.options import default_of, for_method, label, options_model
from ..recipes.recipe import find
from ..report.files import sweep_files
from ..report.tables.sweep import Sweep, Trial, gather, shown
from ..runs.folder import seed_folder, write_files
from ..runs.layout import RunFolder
from ..runs.names import data_name, label_name, place_name
from ..runs.reading import read_run
from .attempts import attempt
from .compare import check, computed_in, configure, minutes_left, reader, require_different, with_computed
from .prepare import Prepared, prepare
from .published import named_folder, with_setup


class Job(NamedTuple):
    """Runs that differ by their seed only: each has a folder ``seed-<n>`` in ``root/name``."""

    prepared: Prepared
    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / label_name(self.name)

    def run_folder(self, seed: int) -> RunFolder:
        return RunFolder(seed_folder(self.root, self.name, seed))


def sweep(
    method: str,
    option: str,
    values: Sequence[Any],
    seeds: Sequence[int] = (0,),
    training: Training | None = None,
    out: Path | None = None,
    *,
    beside: Sequence[str] = (),
    mark: Any = None,
    setup: str | None = None,
    quiet: bool = False,
) -> tuple[Sweep, list[Path]]:
    """Train the runs that are missing, read the finished ones, write the figure, the table and the page.

    A run whose loss diverges is recorded as such and the sweep goes on; the same sweep again tries it
    again from its last good state. Where several processes train one run it stops the sweep: one of
    them may know before the others.

    Args:
        method: a name, with options of its own if wanted (:func:`cohobate.config.grammar.parse`).
        option: name of the option to sweep: one of the method's own, or of every run.
        values: of the option, or text that stands for them; all are checked before anything trains.
        seeds: each trains every value once.
        training: shared by all runs; its ``seed`` is not used. Made by
            :func:`cohobate.recipes.options.options` for this method, it holds its own options too.
        out: folder of the sweep; by default ``runs/sweep-<method>-<option>-<data>-<model>``, or
            ``...-<set-up>``.
        beside: methods that are trained once a seed with the same shared options, for dashed lines. The
            read-out that ``training`` names is the swept method's; ``one:readout=peer_mean`` names theirs.
        mark: the value to mark; by default the option's default, if it is among the values.
        setup: name of the set-up (:mod:`cohobate.papers.setups`) whose options of single methods count.
        quiet: print nothing.

    Returns:
        The sweep and the files written (by the first process).

    Raises:
        ValueError: an unknown option, one that cannot be swept, a value that it does not take.
        Stopped, RunError: see :func:`cohobate.train`.
    """
    require_different("seed", seeds)
    if beside:
        require_different("method", beside)
    shared = Training() if training is None else training
    # A read-out is one of the method's; those beside have theirs from the set-up or from their own options.
    bare = Training(**{key: getattr(shared, key) for key in Training.model_fields if key != "readout"})
    if setup is not None and not bare.teacher:
        # A method that takes no teacher left it out; one beside may need it.
        published = find_setup(setup).options
        bare = bare.model_copy(update={k: v for k, v in published.items() if k in Teacher.model_fields})
    name, configs = _configurations(method, option, values, shared, beside, setup)
    wanted = _wanted(name, option, list(configs), mark)
    named = (
        default_folder(name, option, bare)
        if setup is None
        else named_folder(bare, setup, "sweep", name, option, swept=option)
    )
    root = named if out is None else out
    with distributed.process_group(distributed.pick_device(bare.device)):
        read = reader(quiet)
        ready = {value: prepare(name, config, read) for value, config in configs.items()}
        first = next(iter(ready.values()))
        titled = _label(first, option)
        swept = {
            value: Job(prepared, root / label_name(titled), f"{option}={shown(value)}")
            for value, prepared in ready.items()
        }
        beside_it = [prepare(*configure(spec, bare, setup), read) for spec in beside]
        others = {each.label: Job(each, root, each.label) for each in beside_it}
        jobs = [*swept.values(), *others.values()]
        check([(job.prepared, seed, job.run_folder(seed)) for seed in seeds for job in jobs])
        ends = _train(jobs, option, seeds, quiet)
        distributed.barrier()
        runs = {
            folder: read_run(folder).reporting(job.prepared.config.readout)
            for job in jobs
            for folder in ends[job.folder]
        }

        def trials(job: Job) -> list[Trial]:
            return [Trial.of(runs[folder], diverged) for folder, diverged in ends[job.folder].items()]

        table = gather(
            titled,
            option,
            {value: trials(job) for value, job in swept.items()},
            {name: trials(job) for name, job in others.items()},
            list(runs.values()),
            about=options_model(name).model_fields[option].description or "",
            mark=wanted or _default(first, option, list(configs)),
            notes=_notes(option, bare, jobs, list(others)),
        )
        files = sweep_files(table, list(runs.values())) if distributed.rank() == 0 else {}
        return table, write_files(root, files)


def default_folder(method: str, option: str, training: Training) -> Path:
    """``runs/sweep-<method>-<option>-<data>-<model>``; a swept data set or model is left out."""
    data, model = data_name(training.data, training.image_size), training.model
    fixed = {"data": label_name(model), "model": label_name(data)}.get(option) or place_name(data, model)
    return Path("runs") / "-".join(["sweep", label_name(method), option, fixed])


# ---------------------------------------------------------------- configurations


def _configurations(
    spec: str,
    option: str,
    values: Sequence[Any],
    training: Training,
    beside: Sequence[str],
    setup: str | None,
) -> tuple[str, dict[Any, Training]]:
    """The method, and value -> checked options of its run."""
    method, own = parse(spec)
    if option in own:
        raise ValueError(f"{option} is swept; leave it out of {spec!r}")
    shared = {key: getattr(training, key) for key in type(training).model_fields}
    if not isinstance(training, options_model(method)):
        shared |= {} if setup is None else find_setup(setup).own(method)
    shared |= own
    if any(find(parse(other)[0]).needs_teacher for other in beside):
        shared = for_method(method, shared)
    typed = check_values(method, option, values)
    return method, {value: with_setup(method, {**shared, option: value}, setup) for value in typed}


def _wanted(method: str, option: str, values: Sequence[Any], mark: Any) -> tuple[Any, str] | None:
    """The value to mark, and why, where one is asked for."""
    if mark is None:
        return None
    (wanted,) = check_values(method, option, [mark])
    if wanted not in values:
        raise ValueError(f"the value to mark, {mark}, is none of {', '.join(map(shown, values))}")
    return wanted, "marked"


def _default(prepared: Prepared, option: str, values: Sequence[Any]) -> tuple[Any, str] | None:
    """The option's default for these data, and why it is marked, if it is among the values."""
    default = default_of(prepared.method, option, prepared.dataset.task)
    return (default, "default") if default in values else None


def _label(prepared: Prepared, option: str) -> str:
    """The label without the option."""
    task = prepared.dataset.task
    default = default_of(prepared.method, option, task)
    return label(prepared.method, prepared.config.model_copy(update={option: default}), task)


def _notes(option: str, training: Training, jobs: Sequence[Job], beside: Sequence[str]) -> Iterator[str]:
    if option not in Training.model_fields:
        return
    if beside:
        yield f"Beside, with {option}={shown(getattr(training, option))}: {', '.join(beside)}."
    own = {"epochs": training.teacher_epochs, "lr": training.teacher_lr, "seed": training.teacher_seed}
    shared = {*Images.shared(), *Optimisation.shared()}
    if jobs[0].prepared.config.teacher and option in shared and own.get(option) is None:
        yield f"A teacher that is trained here is trained with each {option}, too."


# ---------------------------------------------------------------- training


def _train(
    jobs: Sequence[Job], option: str, seeds: Sequence[int], quiet: bool
) -> Mapping[Path, Mapping[Path, str | None]]:
    """Every job with every seed: its folder -> the folder of each run -> how it diverged, if it did."""
    started = time.monotonic()
    display = Display(quiet=quiet or distributed.rank() > 0)
    ends: dict[Path, dict[Path, str | None]] = {job.folder: {} for job in jobs}
    probed: dict[str, Any] = {}
    computed: dict[Path, dict[str, Any]] = {}
    for number, (seed, job) in enumerate(((seed, job) for seed in seeds for job in jobs), 1):
        minutes = minutes_left(job.prepared.config.max_minutes, started)
        folder = job.run_folder(seed)
        display.say(f"run {number} of {len(seeds) * len(jobs)}: {job.folder.name}, seed {seed}")
        now = job.prepared.having(seed=seed, max_minutes=minutes, **probed)
        now = with_computed(now, folder, computed.get(job.folder, {}))
        diverged = attempt(now, folder, quiet=quiet)
        if diverged is not None:
            display.say(f"diverged: {diverged}")
        else:
            computed.setdefault(job.folder, computed_in(folder))
        ends[job.folder][folder.path] = diverged
        # The precision that the first run measured is used for all runs of the sweep.
        recorded = read_config(folder.config)
        probed = {key: recorded[key] for key in ("precision", "layout") if key != option}
    return ends
