"""Preparation of a run: data, options and method, checked before anything is written or trained.

Every error that can be detected early is raised here: :func:`prepare` reads the data and settles what
``auto`` stands for; :meth:`Prepared.check` builds the first phase and its loader and runs the method, and its
read-outs, once on a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from ..config.files import read_config
from ..config.grammar import text
from ..config.groups import Training
from ..core import Phase, Plan
from ..data.augment.crops import described
from ..data.dataset import Dataset, Split, fingerprint
from ..engine import distributed
from ..engine.errors import RunError
from ..engine.feeds import Feeds
from ..engine.measures.peers import PEER_MEAN
from ..engine.optim import make_optimizers
from ..engine.phase import out_of_memory, phase_settings, place, smaller_batch
from ..engine.plan import begin
from ..engine.randomness import unchanged
from ..recipes.catalogue import refuse_masks
from ..recipes.job import Job
from ..recipes.options import for_task, label, own_options
from ..recipes.recipe import find
from ..recipes.teachers import refuse_foreign
from ..runs.folder import is_of, require_own, untrained
from ..runs.layout import RunFolder
from ..tracking.catalogue import require
from .feeds import all_logits, make_feeds, refuse_labels
from .images import extra_images, read_data
from .teachers import teacher_run
from .trial import trial_step

Read = Callable[[Training], Dataset]


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

    def given(self, **own: Any) -> Prepared:
        """The same with other values of the method's own options, under the same label."""
        chosen, recipe = {**self.options, **own}, find(self.method)
        config = self.config.model_copy(update=own)
        return replace(self, config=config, options=chosen, make_plan=lambda job: recipe.plan(job, chosen))

    def job(
        self, say: Callable[[str], None], trained: Callable[[str], nn.Module], *, measured: bool = False
    ) -> Job:
        """The networks, data and options from which the method is made.

        Args:
            say: prints a line for the user.
            trained: name of a model -> this network, trained on these images.
            measured: whether the plan may look at what its networks predict; not where they are untrained.
        """
        config = self.config
        logits = partial(all_logits, dataset=self.dataset, device=self.device, workers=config.workers)
        return Job(
            config,
            self.dataset,
            say,
            trained,
            first=lambda value: distributed.gathered(value)[0],
            apart=unchanged,
            **({"logits": logits} if measured else {}),
        )

    @cached_property
    def _extra(self) -> tuple[Split | None, tuple[str, ...]]:
        return extra_images(self.dataset, self.config)

    @property
    def unlabelled(self) -> Split | None:
        """Unlabelled images, for the teacher's terms."""
        return self._extra[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on all images, for readers of the results."""
        return *self.dataset.notes, *self._extra[1]

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all training images, the unlabelled ones included."""
        return fingerprint(self.dataset, self.unlabelled)

    @property
    def augmentation(self) -> str:
        """What is done to the training images, in words."""
        return described(self.dataset, self.config, self.config)

    def feeds(self, *, trial: bool = False) -> Feeds:
        """The loaders of the run.

        Args:
            trial: for a single batch: no worker processes, and the teacher's logits are not stored.

        Raises:
            ValueError: early stopping without a validation split, or measures of training images without
                labels.
        """
        config = self.config
        if config.log_train and config.unlabelled_alone:
            raise ValueError(
                "log_train measures on the training images, and unlabelled_alone has no labels of them; "
                "leave out one of the two"
            )
        if config.patience is not None and self.dataset.val is None:
            raise ValueError(
                f"patience {config.patience} stops a run by what it measures on the validation split, and "
                f"{config.data} has none; give --val-fraction a share above 0, or leave out --patience"
            )
        return make_feeds(
            self.dataset,
            self.device,
            0 if trial else config.workers,
            augmentations=config.augmentations,
            autoaugment=config.autoaugment,
            cutout=config.cutout,
            balanced=config.balance == "sampling",
            cache_teacher="off" if trial else config.cache_teacher,
            unlabelled=self.unlabelled,
            unlabelled_share=config.unlabelled_share,
            unlabelled_alone=config.unlabelled_alone,
        )

    def phases(self) -> Iterator[Phase]:
        """The phases, untrained, with an untrained network for a teacher that the run would train."""

        def untrained(spec: str) -> nn.Module:
            # Raises an error if the options for training this teacher are wrong.
            teacher_run(spec, self.config, fingerprint(self.dataset))
            return Job(self.config, self.dataset).build(spec)

        job = self.job(lambda message: None, untrained)
        plan = self.make_plan(job)
        phase: Phase | None = begin(plan, self.config.seed)
        while phase is not None:
            yield phase
            try:
                phase = plan.send({"history": [], "best": None})
            except StopIteration:
                phase = None

    def first_phase(self) -> Phase:
        """The first of :meth:`phases`."""
        return next(self.phases())

    def readouts(self) -> list[str]:
        """The read-outs that the run will measure in its last phase; the first is the deployed one."""
        *_, last = self.phases()
        peers = [PEER_MEAN] if len(last.method.peer_readouts) > 1 else []
        return [*last.method.predictors(), *peers]

    def has_begun(self, folder: RunFolder) -> bool:
        """Whether the folder belongs to this run already, so that there is nothing to check."""
        return folder.config.exists() and is_of(folder, self.method, self.as_recorded(folder).config)

    def as_recorded(self, folder: RunFolder) -> Prepared:
        """With the precision and layout that a run in the folder has measured, instead of auto."""
        if self.config.precision != "auto" or not folder.config.exists() or untrained(folder):
            return self
        before = read_config(folder.config)
        return self.having(**{key: before[key] for key in ("precision", "layout")})

    def require_own(self, folder: RunFolder) -> None:
        """Raise a RunError if another run has trained in the folder (:func:`cohobate.runs.folder.claim`)."""
        if folder.config.exists() or folder.provenance.exists():
            require_own(folder, self.method, self.as_recorded(folder).config, self.fingerprint)

    def check(self) -> None:
        """Build each phase and its loader, and run its method once on a batch, forward and backward.

        Raises:
            ValueError: options that do not go together, a network that lacks what the method reads, or an
                unknown read-out.
            RunError: a file of weights that cannot be read, or too little memory.
        """
        # A run that has begun with such a teacher is not checked again, and goes on.
        refuse_foreign(self.config.teacher)
        lengths = {phase.name: self._check(phase) for phase in self.phases()}
        epochs = [epoch for epoch in self.config.keep_epochs if not 1 <= epoch <= max(lengths.values())]
        if epochs:
            each = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(f"--keep-epochs {text(tuple(epochs))}: the epochs count from 1, and {each}")
        self._check_readout()

    def _check(self, phase: Phase) -> int:
        """Check one phase; its number of epochs."""
        if self.config.unlabelled_alone:
            refuse_labels(phase.method)
        settings, groups = phase_settings(self.config, phase)
        settings = place(phase.method, self.device, settings)
        make_optimizers(phase.method, settings, groups)
        self.feeds().train(phase.method, settings)
        try:
            batch = next(iter(self.feeds(trial=True).train(phase.method, settings).epoch(0)))
            trial_step(phase.method, batch, settings, self.device)
        except NotImplementedError as error:
            raise ValueError(
                f"{error} is missing: a method defines forward(batch, turn), predictors() and readouts(x)"
            ) from error
        except RuntimeError as error:
            if out_of_memory(error):
                raise RunError(smaller_batch(settings)) from error
            raise
        return settings.epochs

    def _check_readout(self) -> None:
        wanted = self.config.readout
        if wanted is not None and wanted not in (known := self.readouts()):
            raise ValueError(f"{self.label} has no read-out {wanted!r}; it has {', '.join(known)}")


def prepare(method: str, config: Training, read: Read = read_data) -> Prepared:
    """Read the data and settle the options for a run of a method by name.

    Args:
        method: a name of the catalogue, or ``file.py:Class``.
        config: its options (:func:`cohobate.recipes.options.options`).
        read: reads the images; a command with several runs reads each data set once.

    Raises:
        ValueError: an unknown method, or no such device or data; or a method that cannot learn from masks.
        FileNotFoundError: the data is not there.
        ImportError: the library of a tracker is not installed.
    """
    recipe = find(method)
    require(config.track)
    device = distributed.pick_device(config.device)
    dataset = read(config)
    if dataset.task == "segmentation":
        refuse_masks(method)
    config = for_task(method, config, dataset.task)
    own = {name: getattr(config, name) for name in own_options(method)}
    return Prepared(
        method,
        lambda job: recipe.plan(job, own),
        settled(config, device),
        dataset,
        device,
        config.model,
        label(method, config, dataset.task),
        own,
    )


def settled(config: Training, device: torch.device) -> Training:
    """Replace ``auto`` by a value for this device, except for the precision, which is measured later."""
    update: dict[str, Any] = {"device": device.type}
    if config.compile == "auto":
        update["compile"] = "on" if device.type == "cuda" else "off"
    return config.model_copy(update=update)
