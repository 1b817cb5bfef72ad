"""``cohobate train``: one method, from end to end; and ``cohobate.train``, ``cohobate.fit`` in Python."""

from __future__ import annotations

import os
import tempfile
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ..config.groups import Group, Training
from ..config.groups.network import renamed
from ..config.idle import refuse_idle
from ..config.objects import nearest
from ..runs.layout import RunFolder
from .console import show
from .parsing import CONFIG, SETUP, named_run, parsed

if TYPE_CHECKING:
    from ..core import Method, Plan
    from ..data.dataset import Dataset
    from .prepare import Prepared
    from .result import Result


def train(
    method: str, config: Training, out: Path | None = None, *, setup: str | None = None, quiet: bool = False
) -> Result:
    """Train a method by name; a run that was interrupted goes on, a finished one is read.

    Args:
        method: a name of the catalogue, or ``file.py:Class``.
        config: of :func:`cohobate.recipes.options.options`.
        out: the run's folder; by default ``runs/<data>-<model>/<method>/seed-<n>``.
        setup: name of the set-up that the options are of, after which the default folder is named.
        quiet: print nothing.

    Raises:
        Stopped, RunError: see :meth:`cohobate.engine.loop.Trainer.run`.
        ValueError: a name, an option or the data is wrong.
    """
    from ..engine import distributed
    from ..engine.progress import Display
    from ..runs.folder import default_root, seed_folder
    from .images import read_data
    from .prepare import prepare
    from .published import named_folder
    from .running import run

    with distributed.process_group(distributed.pick_device(config.device)):
        say = Display(method, quiet or distributed.rank() > 0).say
        prepared = prepare(method, config, partial(read_data, say=say))
        root = default_root(config) if setup is None else named_folder(config, setup)
        # The label of the prepared run: what is at its default depends on the labels of the data.
        folder = out or seed_folder(root, prepared.label, config.seed)
        return run(prepared, RunFolder(folder), quiet=quiet)


def fit(
    method: Method, dataset: Dataset, out: Path | str | None = None, *, quiet: bool = False, **settings: Any
) -> Result:
    """Train a method of your own making on data of your own (:func:`cohobate.arrays`).

    Args:
        method: owns the networks; they are trained in place.
        dataset: images and labels; a validation split is held out unless it has one.
        out: the run's folder, for checkpoints and resume; a temporary one by default.
        quiet: print nothing.
        **settings: of :class:`cohobate.Training`: ``epochs=10, lr=0.05`` ...

    Raises:
        As :func:`train`.
    """
    from ..core import Phase
    from ..data.channels import with_channels
    from ..engine import distributed
    from ..engine.progress import Display
    from ..recipes.matching import refuse_size, settle
    from ..tracking.catalogue import require
    from .images import divide
    from .prepare import Prepared, settled
    from .running import run

    unknown = [key for key in settings if key not in Training.model_fields]
    if unknown:
        near = nearest(unknown[0], Training.model_fields)
        raise ValueError(f"unknown setting {unknown[0]!r}; the nearest are {near}")
    name = type(method).__name__
    config = Training.model_validate({"model": name, "data": dataset.name, **settings})
    refuse_idle(settings, dict(config))
    require(config.track)
    device = distributed.pick_device(config.device)

    def plan(trained: Method) -> Plan:
        yield Phase("train", trained)

    def prepared(make_plan: Any) -> Prepared:
        return Prepared(name, make_plan, settled(config, device), divided, device, None, name, {})

    def check_copy() -> None:
        """Check a copy, so that training begins with the method as it is."""
        try:
            copy = deepcopy(method)
        except (RuntimeError, TypeError) as error:
            # It holds a computed tensor, a lock or an open file.
            display = Display(name, quiet or distributed.rank() > 0)
            display.say(f"note: the method cannot be copied ({error}), so it is trained without a trial step")
            return
        try:
            prepared(lambda job: plan(copy)).check()
        except RuntimeError:
            refuse_size(copy, divided.shape)
            raise

    with distributed.process_group(device), tempfile.TemporaryDirectory() as temporary:
        divided = divide(with_channels(dataset, config.channels), config)
        settle(
            method,
            divided,
            Display(name, quiet or distributed.rank() > 0).say,
            by_position=config.match_classes == "by_position",
            renamed=renamed(config.renamed_classes),
        )
        folder = RunFolder(Path(temporary) if out is None else Path(out))
        if not folder.config.exists():
            check_copy()
        return run(prepared(lambda job: plan(method)), folder, checked=True, quiet=quiet)


# ---------------------------------------------------------------- command line


class Command(Group):
    """The folder of the run and the configuration that it begins from."""

    out: Path | None = Field(
        None,
        description="Folder of the run; by default runs/DATA-MODEL/METHOD/seed-SEED, or runs/SETUP/...",
    )
    config: Path | None = Field(None, description=CONFIG)
    setup: str | None = Field(None, description=SETUP)
    dry_run: bool = Field(False, description="Print the plan and its cost, and train nothing.")
    quiet: bool = Field(False, description="Print only the result at the end.")


def main(arguments: list[str]) -> None:
    """Train METHOD; the same command resumes an interrupted run."""
    method, initial = named_run(arguments, "train")
    from ..recipes.options import own_group, some_options
    from ..recipes.recipe import find
    from .published import with_setup

    own = own_group(method)
    chosen, command = parsed(
        f"cohobate train {method}",
        arguments,
        Command,
        own={method: own},
        initial=some_options(method, initial),
        about=find(method).summary,
    )
    config = with_setup(method, chosen, command.setup)
    if command.dry_run:
        from .outlook import show_plan

        show_plan(method, config)
        return
    result = train(method, config, command.out, setup=command.setup, quiet=command.quiet)
    if os.environ.get("RANK", "0") == "0":
        from ..report.files import run_files
        from ..report.tables.terminal import result_table
        from ..runs.folder import write_files
        from ..runs.reading import read_run

        run = read_run(result.folder)
        (page,) = write_files(result.folder, run_files(run))
        show(result_table(result.facts, run.headline))
        print(f"run:  {result.folder}\npage: {page}")
