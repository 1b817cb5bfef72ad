"""Train one method from end to end: the command line's and Python's way in."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..analysis.cost import cost, parameters
from ..config.objects import nearest
from ..config.training import Training
from ..core import Method, Phase, Plan
from ..data.dataset import Dataset, fingerprint
from ..engine import distributed
from ..engine.checkpoint import write_json
from ..engine.feeds import Feeds
from ..engine.phase import phase_settings, place
from ..engine.plan import Outcome, begin, run_plan
from ..engine.probe import choose_precision, step_seconds
from ..engine.progress import Display
from ..engine.signals import Stopper
from ..methods.supervised import Supervised
from ..recipes.catalogue import find, label, own_options
from ..recipes.job import Job, load
from ..recipes.teachers import alone, teacher_run
from ..report.tables.terminal import Outlook
from ..runs.folder import claim, default_folder, read_config
from .feeds import divide, extra_images, make_feeds, read_data


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: of the run; gone if none was asked for.
        facts: what ``result.json`` holds: sizes, costs, measurements ``last`` and ``best``.
        history: a record an epoch.
        network: the deployed network (last epoch), images -> logits; None if nothing was trained
            because the run had already finished.
    """

    folder: Path
    facts: dict[str, Any]
    history: list[dict[str, Any]]
    network: nn.Module | None

    @property
    def error(self) -> float:
        """Top-1 error of the last epoch in percent: of the test split, else of the validation split."""
        measured = self.facts["last"]["test"] or self.facts["last"]["val"]
        return float(measured[self.facts["predictor"]]["top1_error"])


@dataclass(frozen=True)
class Work:
    """What a run is about, once everything given has been checked.

    Attributes:
        method: its name, for the records.
        label: the same with the options that are not the default ones.
        options: the method's own.
        model: the network's name if it can be built again from it, else None.
    """

    method: str
    label: str
    options: dict[str, Any]
    model: str | None
    config: Training
    dataset: Dataset
    device: torch.device
    folder: Path
    display: Display


def make_plan(method: str, job: Job) -> Plan:
    """A fresh plan of a method by name."""
    own = {name: getattr(job.training, name) for name in own_options(method)}
    return find(method)(job, **own)


def trained_teacher(spec: str, training: Training, dataset: Dataset, display: Display) -> nn.Module:
    """A teacher that learned plainly from this data: trained now, unless it was before."""
    config, folder = teacher_run(spec, training, fingerprint(dataset))
    # The first process looks for all: another run may be finishing this very teacher.
    if not distributed.gathered((folder / "result.json").exists())[0]:
        display.say(f"teacher {spec}: training it first, {config.epochs} epochs, to be kept in {folder}")
        with alone(folder):
            train("baseline", config, folder, quiet=display.quiet)
    facts = json.loads((folder / "result.json").read_text())
    split = "test" if facts["last"]["test"] else "val"
    error = (facts["last"][split] or {}).get(facts["predictor"], {}).get("top1_error", math.nan)
    display.say(f"teacher {spec}: {split} error {error:.2f} %, {facts['epochs']} epochs, kept in {folder}")
    return load(folder, len(dataset.classes))


def train(method: str, config: Training, out: Path | None = None, *, quiet: bool = False) -> Result:
    """Train a method by name; a run that was interrupted goes on, a finished one is read.

    Args:
        method: a name of the catalogue, or ``file.py:Class``.
        config: of :func:`cohobate.recipes.catalogue.options`.
        out: the run's folder; by default :func:`default_folder`.
        quiet: print nothing.

    Raises:
        Stopped, RunError: see :meth:`cohobate.engine.loop.Trainer.run`.
        ValueError: a name, an option or the data is wrong.
    """
    device = distributed.pick_device(config.device)
    folder = out if out is not None else default_folder(method, config)
    with distributed.process_group(device):
        display = Display(f"{label(method, config)} seed {config.seed}", quiet or distributed.rank() > 0)
        dataset = read_data(config)
        for note in dataset.notes:
            display.say(f"note: {note}")
        config = _chosen(config, folder, device)

        def job(say: Callable[[str], None] = lambda message: None) -> Job:
            return Job(config, dataset, say, lambda spec: trained_teacher(spec, config, dataset, display))

        if config.precision == "auto":
            first = begin(make_plan(method, job()), config.seed).method
            config = _probed(first, config, dataset, device, display)
        own = {name: getattr(config, name) for name in own_options(method)}
        named = label(method, config)
        work = Work(method, named, own, config.model, config, dataset, device, folder, display)
        return _run(make_plan(method, job(display.say)), work)


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
    unknown = [key for key in settings if key not in Training.model_fields]
    if unknown:
        near = nearest(unknown[0], Training.model_fields)
        raise ValueError(f"unknown setting {unknown[0]!r}; the nearest are {near}")
    name = type(method).__name__
    config = Training.model_validate({"model": name, "data": dataset.name, **settings})
    device = distributed.pick_device(config.device)
    with distributed.process_group(device), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if out is None else Path(out)
        display = Display(name, quiet or distributed.rank() > 0)
        dataset = divide(dataset, config)
        config = _chosen(config, folder, device)
        if config.precision == "auto":
            config = _probed(method, config, dataset, device, display)

        def plan() -> Plan:
            yield Phase("train", method)

        return _run(plan(), Work(name, name, {}, None, config, dataset, device, folder, display))


# ---------------------------------------------------------------- choices that are recorded


def _chosen(config: Training, folder: Path | None, device: torch.device) -> Training:
    """Replace ``auto`` by what it stands for here, or by what the folder recorded."""
    on_gpu = device.type == "cuda"
    update: dict[str, Any] = {"device": device.type}
    if config.compile == "auto":
        update["compile"] = "on" if on_gpu else "off"
    if config.precision == "auto" and folder is not None and (folder / "run.yaml").exists():
        kept = read_config(folder / "run.yaml")
        update |= {key: kept[key] for key in ("precision", "layout")}
    return config.model_copy(update=update)


def _probed(
    method: Method, config: Training, dataset: Dataset, device: torch.device, display: Display
) -> Training:
    """The fastest precision and layout for a copy of the method; the first process decides."""
    method.to(device)
    batch = next(iter(make_feeds(dataset, device, config.workers).train(method, config).epoch(0)))
    choice = distributed.gathered(choose_precision(method, batch, config))[0]
    tried = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in choice.seconds.items())
    display.say(f"precision {choice.precision}, {choice.layout} (a step takes: {tried})")
    return config.model_copy(update={"precision": choice.precision, "layout": choice.layout})


# ---------------------------------------------------------------- running


def _run(plan: Plan, work: Work) -> Result:
    dataset, config, folder = work.dataset, work.config, work.folder
    unlabelled = extra_images(dataset, config)
    claim(folder, work.method, config, fingerprint(dataset, unlabelled), dataset.notes)
    if (folder / "result.json").exists():
        work.display.say(f"already finished: {folder}")
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        facts = json.loads((folder / "result.json").read_text())
        return Result(folder, facts, [json.loads(line) for line in lines], None)
    stopper = Stopper(config.max_minutes)
    feeds = make_feeds(
        dataset,
        work.device,
        config.workers,
        augmentations=config.augmentations,
        autoaugment=config.autoaugment,
        cutout=config.cutout,
        cache_teacher=config.cache_teacher,
        unlabelled=unlabelled,
        unlabelled_share=config.unlabelled_share,
    )
    about = {
        "model": work.model,
        "classes": list(dataset.classes),
        "data": config.data,
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "image_size": dataset.image_size,
    }
    with stopper.listening():
        outcome = run_plan(plan, feeds, config, work.device, folder, work.display, stopper, about)
    return _finish(outcome, work)


def _finish(outcome: Outcome, work: Work) -> Result:
    trained = outcome.trainer.method
    predictor, network = next(iter(trained.predictors().items()))
    size = work.dataset.image_size
    spent = cost(network, (3, size, size))
    facts = {
        "method": work.method,
        "label": work.label,
        "options": work.options,
        "seed": work.config.seed,
        "model": work.config.model,
        "data": work.config.data,
        "predictor": predictor,
        "parameters_trained": parameters(trained, trained=True),
        "parameters_deployed": spent.parameters,
        "macs": spent.macs,
        "train_seconds": sum(record["seconds"] for record in outcome.history),
        "train_images": len(work.dataset.train),
        "epochs": work.config.epochs,
        "image_passes": sum(record["images"] for record in outcome.history),
        "last": outcome.last,
        "best": outcome.best,
    }
    if distributed.rank() == 0:
        write_json(work.folder / "result.json", facts)
    distributed.barrier()
    return Result(work.folder, facts, outcome.history, network.eval())


# ---------------------------------------------------------------- dry run


def dry_run(method: str, config: Training) -> tuple[Dataset, list[Outlook]]:
    """Build every phase, time a few steps, train nothing and write nothing."""
    device = distributed.pick_device(config.device)
    dataset = read_data(config)
    config = _chosen(config, None, device)
    feeds = make_feeds(dataset, device, config.workers, autoaugment=config.autoaugment, cutout=config.cutout)
    outlooks: list[Outlook] = []

    def untrained(spec: str) -> nn.Module:
        teacher, folder = teacher_run(spec, config, fingerprint(dataset))
        network = job.build(spec)
        if not (folder / "result.json").exists():
            phase = Phase(f"teacher {spec}", Supervised(network))
            outlooks.append(_outlook(phase, teacher, feeds, dataset, device))
        return network

    job = Job(config, dataset, trained=untrained)
    plan = make_plan(method, job)
    phase = begin(plan, config.seed)
    while True:
        outlooks.append(_outlook(phase, config, feeds, dataset, device))
        try:
            phase = plan.send({"history": [], "best": None})
        except StopIteration:
            return dataset, outlooks


def _outlook(phase: Phase, config: Training, feeds: Feeds, dataset: Dataset, device: torch.device) -> Outlook:
    settings, _ = phase_settings(config, phase)
    place(phase.method, device, settings)
    loader = feeds.train(phase.method, settings)
    seconds = step_seconds(phase.method, next(iter(loader.epoch(0))), settings, rounds=2)
    size = dataset.image_size
    spent = cost(next(iter(phase.method.predictors().values())), (3, size, size))
    return Outlook(
        phase.name,
        settings.epochs,
        len(loader) // settings.accumulate,
        parameters(phase.method, trained=True),
        spent.parameters,
        spent.macs,
        seconds * len(loader) * settings.epochs,
    )
