"""The training loop: the same for every method, without a branch on the kind of method."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.groups import Settings
from ..core import Batch, Loader, Phase
from . import distributed
from .checkpoint import Store
from .errors import RunError, Stopped
from .evaluate import Measured, autocast
from .feeds import Feeds, updates
from .finite import Watch
from .keeping import Keeper, Observe, unobserved
from .optim import MovingAverage, clip, make_optimizers, set_rates
from .phase import (
    compile_step,
    in_layout,
    in_parallel,
    out_of_memory,
    phase_settings,
    place,
    smaller_batch,
    synchronised,
)
from .progress import Display
from .schedule import factor
from .signals import Stopper
from .snapshot import Moving
from .standing import Standing

LOOK_EVERY = 50
"""Steps between two checks of the losses where reading a value waits for the device (GPU, DDP)."""


class Trainer:
    """Trains one phase: holds its method, optimizers, loader and progress.

    Args:
        phase: from the plan.
        feeds: the images, and how predictions on them are measured.
        settings: of the run; those of the phase override them.
        device: on which the method is trained.
        store: writes and reads the checkpoints.
        metrics: file to which a line of JSON is written for each epoch.
        earlier: records of the epochs of earlier phases.
        display: shows the progress.
        stopper: says when to stop, and why.
        observe: is told the records when the training begins or goes on, and after each epoch.
    """

    def __init__(
        self,
        phase: Phase,
        feeds: Feeds,
        settings: Settings,
        device: torch.device,
        store: Store,
        metrics: Path,
        earlier: list[dict[str, Any]],
        display: Display,
        stopper: Stopper,
        observe: Observe = unobserved,
    ) -> None:
        self.settings, groups = phase_settings(settings, phase)
        self.method, self.feeds, self.device = phase.method, feeds, device
        self.display, self.stopper, self.observe = display, stopper, observe

        self.settings = place(self.method, device, self.settings, display.say)
        distributed.broadcast(self.method)
        self.optimizers = make_optimizers(self.method, self.settings, groups)
        self.ema = MovingAverage(self.method, self.settings.ema) if self.settings.ema else None
        self.loader = feeds.train(self.method, self.settings)
        self.steps = len(self.loader) // self.settings.accumulate
        self.progress = torch.zeros((), device=device)
        self.standing = Standing(phase.name)
        self.watch = Watch(self.standing, self.steps, store.last)
        moving = Moving(self.method, self.optimizers, self.ema, self.standing)
        self.keeper = Keeper(moving, store, metrics, earlier)
        if self.keeper.load(device, display.say) and not self.finished:
            name, epoch, step = self.standing.name, self.standing.epoch, self.standing.step
            display.say(f"resuming phase {name!r} after epoch {epoch}, step {step}")

        self.compiled = self.settings.compile == "on"
        # A CUDA graph writes gradients to the same memory in each replay, so gradients must neither be
        # accumulated nor held by DDP.
        alone = self.settings.accumulate == 1 and distributed.world() == 1
        self.replayed = self.compiled and device.type == "cuda" and alone
        if self.compiled and not self.finished:
            self.display.say("compiling the step; the first one takes a while")
            compile_step(self.method, device, self.replayed)
        self.module = in_parallel(self.method, device)

    @property
    def done(self) -> int:
        """Number of finished updates of the phase."""
        return self.standing.epoch * self.steps + self.standing.step

    @property
    def stopped_early(self) -> bool:
        """Whether the validation measure has not improved for as many epochs as ``patience`` allows."""
        patience = self.settings.patience
        return patience is not None and patience <= self.standing.idle

    @property
    def finished(self) -> bool:
        return self.standing.epoch >= self.settings.epochs or self.stopped_early

    def _share(self, update: int) -> float:
        """The fraction of the phase that lies before an update, 0 to 1."""
        return update / (self.settings.epochs * self.steps)

    # ------------------------------------------------------------ training

    def run(self) -> dict[str, Any]:
        """Train to the end of the phase; returns its measurements.

        Raises:
            Stopped: by a signal or at the end of the allowed time; a checkpoint is written before.
            NonFiniteLoss: a loss term, a weight or a measure is NaN or infinite.
            RunError: out of memory, or a checkpoint cannot be written.
        """
        if not self.finished:
            self.display.begin(self.standing.name, self.settings.epochs * self.steps, self.done)
            self.observe(self.keeper.records)
            try:
                while not self.finished:
                    self._train_epoch()
                    self._end_epoch()
            except RuntimeError as error:
                if out_of_memory(error):
                    raise RunError(smaller_batch(self.settings)) from error
                raise
            finally:
                self.display.end()
            if self.standing.epoch < self.settings.epochs:
                self.display.say(
                    f"phase {self.standing.name!r} stops after {self.standing.epoch} of "
                    f"{self.settings.epochs} epochs: the validation {self.feeds.measures.headline.title} has "
                    f"not improved for {self.settings.patience}"
                )
        if self.ema is not None:
            self.ema.adopt()
        return {"history": self.standing.history, "best": self.standing.best}

    def _train_epoch(self) -> None:
        self.method.train()
        standing, accumulate = self.standing, self.settings.accumulate
        start, before = time.monotonic(), standing.seconds
        batches = self.loader.epoch(standing.epoch, standing.step * accumulate)
        for group in updates(batches, accumulate):
            self._update(group)
            standing.step += 1
            standing.seconds = before + time.monotonic() - start
            self._show()
            if self._stop_wanted():
                self._stop()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        standing.seconds = before + time.monotonic() - start

    def _update(self, group: list[Batch]) -> None:
        share = self._share(self.done)
        self.progress.fill_(share)
        set_rates(self.optimizers, factor(self.settings, share))
        for turn in range(self.method.turns):
            for i, batch in enumerate(group):
                with synchronised(self.module, last=i == len(group) - 1):
                    losses = self._losses(batch, turn)
                    (sum(losses.values()) / len(group)).backward()  # type: ignore[union-attr]
            clip(self.method, self.settings)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self.method.after_step()
        if self.ema is not None:
            self.ema.update(self.done)

    def _losses(self, batch: Batch, turn: int) -> dict[str, Tensor]:
        if self.replayed:
            torch.compiler.cudagraph_mark_step_begin()
        batch = in_layout(batch, self.settings)
        with autocast(self.device, self.settings.precision):
            losses: dict[str, Tensor] = self.module(batch._replace(progress=self.progress), turn)
        if self._look():
            self.watch.losses(losses)
        self.standing.add(losses)
        return losses

    def _look(self) -> bool:
        step = self.standing.step
        return self.device.type == "cpu" or step % LOOK_EVERY == 0 or step == self.steps - 1

    def _check_weights(self) -> None:
        """Before weights are measured, kept or saved: the losses of a step say nothing of its gradient."""
        self.watch.weights(self.method, {} if self.ema is None else self.ema.average)

    def _stop_wanted(self) -> bool:
        if distributed.world() == 1:
            return self.stopper.wanted()
        looking = self.standing.step % LOOK_EVERY == 0 or self.standing.step == self.steps
        return looking and distributed.agreed(self.stopper.wanted(), self.device)

    def _stop(self) -> None:
        self.watch.losses(self.standing.totals)
        self._check_weights()
        self.keeper.save()
        raise Stopped(
            f"stopped ({self.stopper.reason}) in epoch {self.standing.epoch + 1} of "
            f"{self.settings.epochs}, step {self.standing.step} of {self.steps}; saved in "
            f"{self.watch.last}: run the same command again to go on",
            self.stopper.code,
        )

    # ------------------------------------------------------------ measuring

    def _end_epoch(self) -> None:
        distributed.average_buffers(self.method)
        standing = self.standing
        counted = self.steps * self.settings.accumulate * distributed.world()
        losses = {name: (distributed.total(t) / counted).item() for name, t in standing.totals.items()}
        self.watch.losses({name: torch.tensor(value) for name, value in losses.items()})
        self._check_weights()
        lr = self.settings.lr * factor(self.settings, self._share(self.done - 1))
        record = standing.record(lr, losses, self.steps * self.settings.batch_size)
        standing.next_epoch()
        with self.ema.applied() if self.ema is not None else nullcontext():
            loaders = self.feeds.to_measure(self.settings)
            record |= {split: self.measure(loader, split) for split, loader in loaders.items()}
            self.keeper.keep(record, self.feeds.measures, self.settings.keep_epochs)
        standing.history.append(record)
        self.keeper.save()
        self.observe(self.keeper.records)
        self.display.epoch(self.done, record, self.settings.epochs, self.feeds.measures)

    def measure(self, loader: Loader, split: str) -> Measured:
        """Measures of every read-out over the loader of a split, with the current weights.

        Raises:
            NonFiniteLoss: a measure is NaN or infinite.
        """
        of_method = self.feeds.measures.of_method
        measured = of_method(self.method, loader, self.device, self.settings.precision)
        self.watch.measured(measured, split)
        return measured

    def _show(self) -> None:
        if self.display.due():
            standing, settings = self.standing, self.settings
            losses = standing.means(standing.step * settings.accumulate)
            speed = standing.step * settings.batch_size / standing.seconds
            self.display.step(self.done, f"{standing.epoch + 1}/{settings.epochs}", losses, speed)
