"""``--dry-run``: the phases of a plan and their cost; nothing is trained or written."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..analysis.cost import cost, parameters
from ..config.groups import Training
from ..config.words import count
from ..core import Method, Phase, Shape
from ..data.dataset import Dataset, fingerprint
from ..engine.feeds import Feeds
from ..engine.phase import phase_settings, place
from ..engine.plan import begin
from ..engine.probe import step_seconds
from ..methods.supervised import Supervised
from ..report.tables.beside import Beside, beside_table
from ..report.tables.terminal import Outlook, plan_table
from ..runs.names import data_words
from .console import show
from .feeds import make_feeds
from .prepare import Prepared, prepare
from .teachers import teacher_run


def dry_run(prepared: Prepared) -> list[Outlook]:
    """Build every phase and time a few steps of it.

    Raises:
        ValueError: as :meth:`Prepared.check`.
    """
    prepared.check()
    dataset, config, device = prepared.dataset, prepared.config, prepared.device
    # Without the store of a teacher's logits: filling it is no part of a step.
    looks: dict[str, Any] = {
        "autoaugment": config.autoaugment,
        "cutout": config.cutout,
        "balanced": config.balance == "sampling",
    }
    plain = make_feeds(dataset, device, config.workers, **looks)
    feeds = make_feeds(
        dataset,
        device,
        config.workers,
        cache_teacher="off",
        unlabelled=prepared.unlabelled,
        unlabelled_share=config.unlabelled_share,
        unlabelled_alone=config.unlabelled_alone,
        **looks,
    )
    outlooks: list[Outlook] = []

    def untrained(spec: str) -> nn.Module:
        teacher, folder = teacher_run(spec, config, fingerprint(dataset))
        network = job.build(spec)
        if not folder.finished:
            phase = Phase(f"teacher {spec}", Supervised(network))
            outlooks.append(_outlook(phase, teacher, plain, dataset, device))
        return network

    job = prepared.job(lambda message: None, untrained)
    plan = prepared.make_plan(job)
    phase = begin(plan, config.seed)
    while True:
        outlooks.append(_outlook(phase, config, feeds, dataset, device))
        try:
            phase = plan.send({"history": [], "best": None})
        except StopIteration:
            return outlooks


def _outlook(phase: Phase, config: Training, feeds: Feeds, dataset: Dataset, device: torch.device) -> Outlook:
    settings, _ = phase_settings(config, phase)
    settings = place(phase.method, device, settings)
    loader = feeds.train(phase.method, settings)
    seconds = step_seconds(phase.method, next(iter(loader.epoch(0))), settings, rounds=2)
    spent = cost(next(iter(phase.method.predictors().values())), dataset.shape)
    return Outlook(
        phase.name,
        settings.epochs,
        len(loader) // settings.accumulate,
        parameters(phase.method, trained=True),
        spent.parameters,
        spent.macs,
        seconds * len(loader) * settings.epochs,
        tuple(beside(phase.method, dataset.shape)),
    )


def beside(method: Method, shape: Shape) -> list[Beside]:
    """What each read-out that contains the deployed network adds to it: FRSKD's self-teacher, say."""
    (_, deployed), *others = method.predictors().items()
    inner, own = set(deployed.parameters()), cost(deployed, shape)
    lines = []
    for name, network in others:
        if inner <= set(network.parameters()):
            whole = cost(network, shape)
            more = whole.parameters - own.parameters
            ratios = more / own.parameters, whole.flops / own.flops - 1
            lines.append(Beside(name, more, whole.macs - own.macs, *ratios))
    return lines


def show_plan(method: str, config: Training) -> None:
    """Print the plan of a run and its cost."""
    prepared = prepare(method, config)
    outlooks = dry_run(prepared)
    show(plan_table(f"{method} on {data_words(config.data, config.image_size)}: the plan", outlooks))
    if outlooks[-1].beside:
        show(beside_table(outlooks[-1].beside))
    dataset = prepared.dataset
    val = 0 if dataset.val is None else len(dataset.val)
    images = f"{len(dataset.train):,} training and {count(val, 'validation image')}"
    print(f"{images}, {count(len(dataset.classes), 'class')}")
    print(f"augmentation: {prepared.augmentation}")
    for note in prepared.notes:
        print(f"note: {note}")
    print("  ".join(f"{name}={value}" for name, value in prepared.options.items()))
    print("The time is that of a few steps here, without validation. Nothing was written.")
