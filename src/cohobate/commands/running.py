"""A prepared run, trained: its folder claimed, its plan run to the end, its result written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ..analysis.cost import cost, parameters
from ..config.files import read_config
from ..config.groups import Training
from ..data.dataset import fingerprint
from ..engine import distributed
from ..engine.checkpoint import write_json
from ..engine.plan import Outcome, begin, run_plan
from ..engine.probe import choose_precision
from ..engine.progress import Display
from ..engine.signals import Stopper
from ..recipes.networks import load
from ..runs.folder import claim
from ..runs.layout import RunFolder
from .feeds import make_feeds
from .prepare import Prepared, prepare
from .result import Result, read_result
from .teachers import METHOD, trained_teacher


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
    for note in prepared.dataset.notes:
        display.say(f"note: {note}")
    if not checked and not prepared.has_begun(folder):
        prepared.check()
    trained = partial(_trained, prepared, display)
    prepared = _with_precision(prepared, folder, display, trained)
    feeds = prepared.feeds()
    notes, headline = prepared.dataset.notes, feeds.measures.headline
    claim(folder, prepared.method, prepared.config, prepared.fingerprint, notes, headline)
    if folder.finished:
        display.say(f"already finished: {folder.path}")
        return read_result(folder)
    stopper = Stopper(prepared.config.max_minutes)
    plan = prepared.make_plan(prepared.job(display.say, trained))
    with stopper.listening():
        about = _about(prepared)
        outcome = run_plan(plan, feeds, prepared.config, prepared.device, folder, display, stopper, about)
    return _finished(outcome, prepared, folder)


def _trained(prepared: Prepared, display: Display, spec: str) -> nn.Module:
    """A teacher by the name of a model: trained now, unless it was before."""

    def train(config: Training, folder: RunFolder) -> None:
        run(prepare(METHOD, config, lambda _: prepared.dataset), folder, quiet=display.quiet)

    data = fingerprint(prepared.dataset)
    kept = trained_teacher(spec, prepared.config, data, train, display.say)
    return load(kept, len(prepared.dataset.classes)).network


def _with_precision(
    prepared: Prepared, folder: RunFolder, display: Display, trained: Callable[[str], nn.Module]
) -> Prepared:
    """With the precision and layout that the folder recorded, or the fastest in a short probe."""
    if prepared.config.precision != "auto":
        return prepared
    if folder.config.exists():
        before = read_config(folder.config)
        return prepared.having(**{key: before[key] for key in ("precision", "layout")})
    job = prepared.job(lambda message: None, trained)
    method = begin(prepared.make_plan(job), prepared.config.seed).method.to(prepared.device)
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
    }


def _finished(outcome: Outcome, prepared: Prepared, folder: RunFolder) -> Result:
    method, config, dataset = outcome.trainer.method, prepared.config, prepared.dataset
    predictor, network = next(iter(method.predictors().items()))
    spent = cost(network, dataset.shape)
    facts = {
        "method": prepared.method,
        "label": prepared.label,
        "options": prepared.options,
        "seed": config.seed,
        "model": config.model,
        "data": config.data,
        "predictor": predictor,
        "parameters_trained": parameters(method, trained=True),
        "parameters_deployed": spent.parameters,
        "macs": spent.macs,
        "train_seconds": sum(record["seconds"] for record in outcome.history),
        "train_images": len(dataset.train),
        "epochs": config.epochs,
        "image_passes": sum(record["images"] for record in outcome.history),
        "last": outcome.last,
        "best": outcome.best,
        "headline": outcome.trainer.feeds.measures.headline._asdict(),
    }
    if distributed.rank() == 0:
        write_json(folder.result, facts)
    distributed.barrier()
    return Result(folder.path, facts, outcome.history, network.eval())
