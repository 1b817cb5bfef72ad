"""Preparation of a run: data, options and method, checked before anything is written or trained.

Every error that can be detected early is raised here: :func:`prepare` reads the data and settles what
``auto`` stands for; :meth:`Prepared.check` builds the first phase and its loader and runs the method once on
random images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..config.groups import Settings, Training
from ..core import IGNORED, Batch, Method, Phase, Plan
from ..data.dataset import Dataset, Split, fingerprint
from ..engine import distributed
from ..engine.feeds import Feeds
from ..engine.phase import phase_settings
from ..engine.plan import begin
from ..engine.randomness import unchanged
from ..recipes.job import Job
from ..recipes.options import label, own_options
from ..recipes.recipe import find
from .feeds import extra_images, make_feeds, read_data
from .teachers import teacher_run

Read = Callable[[Training], Dataset]

TRIAL_IMAGES = 4


@dataclass(frozen=True)
class Prepared:
    """A run before training: method, options, data and device.

    Attributes:
        method: its name, for the records.
        make_plan: networks and options of the run -> a new plan.
        config: all options; ``auto`` is replaced by a value, except for the precision.
        dataset: the images, with the validation split held out.
        device: on which to train.
        model: the network's name; None if it cannot be built by name.
        label: the method with the options that are not at their default.
        options: the method's own.
    """

    method: str
    make_plan: Callable[[Job], Plan]
    config: Training
    dataset: Dataset
    device: torch.device
    model: str | None
    label: str
    options: dict[str, Any]

    def having(self, **options: Any) -> Prepared:
        """The same with other options of every run."""
        return replace(self, config=self.config.model_copy(update=options))

    def job(self, say: Callable[[str], None], trained: Callable[[str], nn.Module]) -> Job:
        """The networks, data and options from which the method is made."""
        return Job(
            self.config,
            self.dataset,
            say,
            trained,
            first=lambda value: distributed.gathered(value)[0],
            apart=unchanged,
        )

    @cached_property
    def unlabelled(self) -> Split | None:
        """Unlabelled images, for the teacher's terms."""
        return extra_images(self.dataset, self.config)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all training images, the unlabelled ones included."""
        return fingerprint(self.dataset, self.unlabelled)

    def feeds(self) -> Feeds:
        """The loaders of the run."""
        config = self.config
        return make_feeds(
            self.dataset,
            self.device,
            config.workers,
            augmentations=config.augmentations,
            autoaugment=config.autoaugment,
            cutout=config.cutout,
            cache_teacher=config.cache_teacher,
            unlabelled=self.unlabelled,
            unlabelled_share=config.unlabelled_share,
        )

    def first_phase(self) -> Phase:
        """The first phase, with an untrained network for a teacher that the run would train."""

        def untrained(spec: str) -> nn.Module:
            # Raises an error if the options for training this teacher are wrong.
            teacher_run(spec, self.config, fingerprint(self.dataset))
            return job.build(spec)

        job = self.job(lambda message: None, untrained)
        phase: Phase = begin(self.make_plan(job), self.config.seed)
        return phase

    def check(self) -> None:
        """Build the first phase and its loader, and run its method once on random images.

        Raises:
            ValueError: options that do not go together, or a network that lacks what the method reads.
            RunError: a file of weights that cannot be read.
        """
        phase = self.first_phase()
        settings, _ = phase_settings(self.config, phase)
        self.feeds().train(phase.method, settings)
        batch = trial_batch(self.dataset, settings, phase.method, unlabelled=self.unlabelled is not None)
        phase.method.train()
        for turn in range(phase.method.turns):
            phase.method(batch, turn)


def prepare(method: str, config: Training, read: Read = read_data) -> Prepared:
    """Read the data and settle the options for a run of a method by name.

    Args:
        method: a name of the catalogue, or ``file.py:Class``.
        config: its options (:func:`cohobate.recipes.options.options`).
        read: reads the images; a command with several runs reads each data set once.

    Raises:
        ValueError: an unknown method, or no such device or data.
        FileNotFoundError: the data is not there.
    """
    recipe = find(method)
    own = {name: getattr(config, name) for name in own_options(method)}
    device = distributed.pick_device(config.device)
    return Prepared(
        method,
        lambda job: recipe.plan(job, own),
        settled(config, device),
        read(config),
        device,
        config.model,
        label(method, config),
        own,
    )


def settled(config: Training, device: torch.device) -> Training:
    """Replace ``auto`` by a value for this device, except for the precision, which is measured later."""
    update: dict[str, Any] = {"device": device.type}
    if config.compile == "auto":
        update["compile"] = "on" if device.type == "cuda" else "off"
    return config.model_copy(update=update)


def trial_batch(dataset: Dataset, settings: Settings, method: Method, *, unlabelled: bool) -> Batch:
    """Random images with labels as the run's loader would give them, on the CPU."""
    rows = torch.arange(min(TRIAL_IMAGES, len(dataset.train)))
    x, y = torch.randn(len(rows), *dataset.shape), dataset.train.y[rows]
    index: torch.Tensor | None = rows
    if settings.label_smoothing or settings.mixing != "none":
        y = F.one_hot(y, len(dataset.classes)).float()
    if settings.mixing != "none":
        index = None
    if unlabelled:
        x, y, index = x.repeat(2, 1, 1, 1), torch.cat([y, torch.full_like(y, IGNORED)]), None
    views = (x,) if method.second_view is None else (x, x.flip(-1))
    return Batch(views, y, index, torch.tensor(0.5))
