"""A prepared run, trained: its folder claimed, its plan run to the end, its result written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from ..analysis.cost import readout_costs
from ..config.groups import Bookkeeping, Training
from ..core import Method
from ..data.dataset import fingerprint
from ..engine import distributed
from ..engine.checkpoint import write_bytes, write_json
from ..engine.errors import NonFiniteLoss, Stopped
from ..engine.plan import Outcome, run_plan
from ..engine.probe import choose_precision
from ..engine.progress import Display
from ..engine.randomness import unchanged
from ..engine.signals import Stopper
from ..recipes.networks import load
from ..runs.folder import claim, in_use, recorded
from ..runs.layout import RunFolder
from ..runs.names import data_words
from ..tracking.tracker import About
from ..tracking.trackers import Trackers
from .feeds import make_feeds
from .pictured import pictured
from .prepare import Prepared, prepare
from .result import Result, read_result
from .teachers import METHOD, teacher_facts, trained_teacher


def run(prepared: Prepared, folder: RunFolder, *, checked: bool = False, quiet: bool = False) -> Result:
    """Train to the end; a run that was interrupted goes on, a finished one is read.

    Args:
        prepared: method, options, data and device of the run.
        folder: of the run.
        checked: whether :meth:`Prepared.check` has been called for it.
        quiet: print nothing.

    Raises:
        Stopped, RunError: see :meth:`cohobate.engine.loop.Trainer.run`.
        ValueError: options that do not go together; nothing is written then.
    """
    display = Display(f"{prepared.label} seed {prepared.config.seed}", quiet or distributed.rank() > 0)
    for note in prepared.notes:
        display.say(f"note: {note}")
    if prepared.config.log_test and prepared.dataset.test is None:
        display.say(f"note: {prepared.config.data} has no test split, so --log-test has nothing to measure")
    if not checked and not prepared.has_begun(folder):
        prepared.check()
    display.say(f"augmentation: {prepared.augmentation}{_if_sides_matter(prepared)}")
    prepared.require_own(folder)
    prepared = _with_precision(prepared.as_recorded(folder), display)
    if folder.finished:
        display.say(f"already finished: {folder.path}")
        return read_result(folder)
    with in_use(folder):
        return _run(prepared, folder, display)


def _run(prepared: Prepared, folder: RunFolder, display: Display) -> Result:
    teachers: dict[Path, dict[str, Any]] = {}
    feeds, trained = prepared.feeds(), partial(_trained, prepared, display, teachers)
    about_data = prepared.fingerprint, prepared.notes, feeds.measures.headline, prepared.augmentation
    if claim(folder, prepared.method, prepared.config, *about_data):
        display.say(f"note: {folder.path} was of another run, of which nothing was trained; it is begun anew")
    stopper = Stopper(prepared.config.max_minutes)
    plan = prepared.make_plan(prepared.job(display.say, trained, measured=True))
    about = _about(prepared)
    folder.failure.unlink(missing_ok=True)
    trackers = _trackers(prepared, folder, display)
    with stopper.listening(), _told_of_its_end(trackers):
        config, device = prepared.config, prepared.device
        try:
            outcome = run_plan(plan, feeds, config, device, folder, display, stopper, about, trackers.records)
        except NonFiniteLoss as error:
            if distributed.rank() == 0:
                write_json(folder.failure, {"message": str(error)})
            raise
    with _told_of_its_end(trackers):
        return _finished(outcome, prepared, folder, teachers, trackers)


def _trackers(prepared: Prepared, folder: RunFolder, display: Display) -> Trackers:
    """Those that were asked for, in the first process only."""
    config = prepared.config
    options = recorded(prepared.method, config).items()
    about = About(
        f"{prepared.label} seed {config.seed}",
        prepared.label,
        folder.path,
        {name: value for name, value in options if name not in Bookkeeping.model_fields},
    )
    names = config.track if distributed.rank() == 0 else ()
    return Trackers(names, about, folder.tracked, display.insist, unchanged)


@contextmanager
def _told_of_its_end(trackers: Trackers) -> Iterator[None]:
    """Trackers are told if the run stops in here before its end."""
    try:
        yield
    except BaseException as error:
        trackers.stop(failed=not isinstance(error, Stopped | KeyboardInterrupt))
        raise


def _if_sides_matter(prepared: Prepared) -> str:
    """A hint where images are mirrored although nobody said so: a left and a right hand become alike."""
    config = prepared.config
    # A data set that was made in Python is mirrored because its maker said so.
    said = config.flip is not None or prepared.model is None
    by_default = prepared.dataset.flip and not said and config.augmentations != 0
    return "; --no-flip if left and right matter" if by_default else ""


def _trained(
    prepared: Prepared, display: Display, teachers: dict[Path, dict[str, Any]], spec: str
) -> nn.Module:
    """A teacher by the name of a model: trained now, unless it was before; its facts go into ``teachers``."""

    def train(config: Training, folder: RunFolder) -> None:
        run(prepare(METHOD, config, lambda _: prepared.dataset), folder, quiet=display.quiet)

    data = fingerprint(prepared.dataset)
    folder = trained_teacher(spec, prepared.config, data, train, display.say)
    teachers[folder] = teacher_facts(spec, RunFolder(folder))
    return load(folder, len(prepared.dataset.classes)).network


def _with_precision(prepared: Prepared, display: Display) -> Prepared:
    """With the fastest precision and layout in a short probe, if none is given."""
    if prepared.config.precision != "auto":
        return prepared
    method = prepared.first_phase().method.to(prepared.device)
    loader = make_feeds(prepared.dataset, prepared.device, prepared.config.workers).train
    batch = next(iter(loader(method, prepared.config).epoch(0)))
    # The first process decides for all.
    choice = distributed.gathered(choose_precision(method, batch, prepared.config))[0]
    tried = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in choice.seconds.items())
    display.say(f"precision {choice.precision}, {choice.layout} (a step takes: {tried})")
    return prepared.having(precision=choice.precision, layout=choice.layout)


def _about(prepared: Prepared) -> dict[str, Any]:
    """The facts in the header of a deployed network's file."""
    dataset = prepared.dataset
    return {
        "model": prepared.model,
        "classes": list(dataset.classes),
        "data": prepared.config.data,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "shape": list(dataset.shape),
        "task": dataset.task,
        "fit": prepared.config.fit,
        "background": prepared.config.background,
        "eval_resize": prepared.config.eval_resize,
        "averaged_from": dataset.averaged_from,
    }


def _write_pictures(prepared: Prepared, method: Method, folder: RunFolder) -> None:
    """What the page shows of segmentation beside numbers."""
    if prepared.dataset.task == "segmentation":
        found = pictured(method, prepared.dataset, prepared.device, prepared.config.precision)
        if found is not None:
            write_bytes(folder.pictures, found.model_dump_json().encode())


def _finished(
    outcome: Outcome,
    prepared: Prepared,
    folder: RunFolder,
    teachers: dict[Path, dict[str, Any]],
    trackers: Trackers,
) -> Result:
    method, config, dataset = outcome.trainer.method, prepared.config, prepared.dataset
    predictors = method.predictors()
    predictor, network = next(iter(predictors.items()))
    spent = readout_costs(predictors, dataset.shape)
    facts = {
        "method": prepared.method,
        "label": prepared.label,
        "computed": outcome.trainer.method.computed,
        "found": dict(outcome.found),
        "options": prepared.options,
        "seed": config.seed,
        "model": config.model,
        "data": data_words(config.data, config.image_size),
        "predictor": predictor,
        "parameters_trained": outcome.parameters_trained,
        "parameters_deployed": spent[predictor].parameters,
        "macs": spent[predictor].macs,
        "readouts": {name: each._asdict() for name, each in spent.items()},
        "train_seconds": sum(phase.train_seconds for phase in outcome.phases),
        "train_images": len(dataset.train),
        "unlabelled_images": 0 if prepared.unlabelled is None else len(prepared.unlabelled),
        "epochs": config.epochs,
        "image_passes": sum(phase.image_passes for phase in outcome.phases),
        "phases": [phase._asdict() for phase in outcome.phases],
        "teachers": list(teachers.values()),
        "last": outcome.last,
        "best": outcome.best,
        "headline": outcome.trainer.feeds.measures.headline._asdict(),
    }
    # Before the run has finished: one that has is told to nobody.
    trackers.end(facts, outcome.history)
    if distributed.rank() == 0:
        _write_pictures(prepared, method, folder)
        write_json(folder.result, facts)
    distributed.barrier()
    return Result(folder.path, facts, outcome.history, network.eval())
