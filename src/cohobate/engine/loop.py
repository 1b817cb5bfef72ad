"""The loop. It trains any method and asks none of them what it is."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..config.groups import Settings
from ..core import Batch, Loader, Method, Phase
from . import distributed
from .checkpoint import State, Store, read_state, write_bytes, write_state
from .errors import NonFiniteLoss, RunError, Stopped
from .measures.classification import autocast, evaluate, evaluating
from .memory import keep_freed_memory
from .optim import MovingAverage, make_optimizers, set_rates
from .progress import Display
from .schedule import factor
from .signals import Stopper
from .snapshot import pack, unpack

LOOK_EVERY = 50
"""Steps between two looks at what the device computes, where a look waits for it (GPU, DDP)."""

Measured = dict[str, dict[str, Any]]


class Feeds(NamedTuple):
    """The images of a run.

    Attributes:
        train: a phase's method and settings -> its loader.
        val: held out for choosing, or None.
        test: read when called, or None where there is no test split.
        plain_train: the training images as they are, for ``log_train``.
    """

    train: Callable[[Method, Settings], Loader]
    val: Loader | None = None
    test: Callable[[], Loader] | None = None
    plain_train: Callable[[], Loader] | None = None


def groups_of(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    """The micro-batches of one update, together."""
    while group := list(islice(batches, size)):
        yield group


def phase_settings(settings: Settings, phase: Phase) -> tuple[Settings, Mapping[str, Mapping[str, Any]]]:
    """The run's settings as a phase overrides them, and the overrides of its parameter groups."""
    overrides = dict(phase.settings)
    groups = overrides.pop("groups", {})
    return type(settings).model_validate({**settings.model_dump(), **overrides}), groups


def place(method: nn.Module, device: torch.device, settings: Settings) -> None:
    """To the device, in the layout of the run."""
    if device.type == "cpu":
        keep_freed_memory()
    channels_last = settings.layout == "channels_last"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    method.to(device=device, memory_format=layout)  # type: ignore[call-overload]


class Trainer:
    """One phase: a method, what optimises it, and where it stands.

    Args:
        phase: from the plan.
        feeds: the images.
        settings: of the run; the phase may override them.
        device: where.
        store: where the checkpoints go.
        metrics: file of one JSON line an epoch.
        earlier: records of the phases before.
        display: what a person sees.
        stopper: reasons to stop.
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
    ) -> None:
        self.settings, groups = phase_settings(settings, phase)
        self.name, self.method, self.feeds, self.device = phase.name, phase.method, feeds, device
        self.store, self.metrics, self.earlier = store, metrics, earlier
        self.display, self.stopper = display, stopper

        place(self.method, device, self.settings)
        distributed.broadcast(self.method)
        self.optimizers = make_optimizers(self.method, self.settings, groups)
        self.ema = MovingAverage(self.method, self.settings.ema) if self.settings.ema else None
        self.loader = feeds.train(self.method, self.settings)
        self.steps = len(self.loader) // self.settings.accumulate
        self.epoch = self.step = 0
        self.seconds = 0.0
        self.totals: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.progress = torch.zeros((), device=device)
        self._load()

        self.compiled = self.settings.compile == "on"
        # A graph writes the gradients where it wrote them before: nothing else may hold them.
        alone = self.settings.accumulate == 1 and distributed.world() == 1
        self.replayed = self.compiled and device.type == "cuda" and alone
        self.module = self._wrap()

    @property
    def done(self) -> int:
        """Updates behind."""
        return self.epoch * self.steps + self.step

    def _share(self, update: int) -> float:
        """How far into the phase an update is, 0 to 1."""
        return update / (self.settings.epochs * self.steps)

    @property
    def finished(self) -> bool:
        return self.epoch >= self.settings.epochs

    # ------------------------------------------------------------ training

    def run(self) -> dict[str, Any]:
        """Train to the end of the phase; returns its measurements.

        Raises:
            Stopped: at a checkpoint, by a signal or the time given.
            NonFiniteLoss: a term is no longer a number.
            RunError: out of memory, or a checkpoint cannot be written.
        """
        if not self.finished:
            self.display.begin(self.name, self.settings.epochs * self.steps, self.done)
            try:
                while not self.finished:
                    self._train_epoch()
                    self._end_epoch()
            except RuntimeError as error:
                if out_of_memory(error):
                    raise RunError(self._smaller()) from error
                raise
            finally:
                self.display.end()
        if self.ema is not None:
            self.ema.adopt()
        return {"history": self.history, "best": self.best}

    def _train_epoch(self) -> None:
        self.method.train()
        accumulate = self.settings.accumulate
        start = time.monotonic()
        before = self.seconds
        batches = self.loader.epoch(self.epoch, self.step * accumulate)
        for group in groups_of(batches, accumulate):
            self._update(group)
            self.step += 1
            self.seconds = before + time.monotonic() - start
            self._show()
            if self._stop_wanted():
                self._check(self.totals)
                self._save()
                raise Stopped(
                    f"stopped ({self.stopper.reason}) in epoch {self.epoch + 1} of "
                    f"{self.settings.epochs}, step {self.step} of {self.steps}; saved in "
                    f"{self.store.last}: run the same command again to go on",
                    self.stopper.code,
                )
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds = before + time.monotonic() - start

    def _update(self, group: list[Batch]) -> None:
        share = self._share(self.done)
        self.progress.fill_(share)
        set_rates(self.optimizers, factor(self.settings, share))
        for turn in range(self.method.turns):
            for i, batch in enumerate(group):
                with self._sync(last=i == len(group) - 1):
                    losses = self._losses(batch, turn)
                    (sum(losses.values()) / len(group)).backward()  # type: ignore[union-attr]
            if self.settings.clip is not None:
                nn.utils.clip_grad_norm_(self.method.parameters(), self.settings.clip)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        self.method.after_step()
        if self.ema is not None:
            self.ema.update()

    def _losses(self, batch: Batch, turn: int) -> dict[str, Tensor]:
        if self.replayed:
            torch.compiler.cudagraph_mark_step_begin()
        if self.settings.layout == "contiguous":
            batch = batch._replace(views=tuple(v.contiguous() for v in batch.views))
        with autocast(self.device, self.settings.precision):
            losses: dict[str, Tensor] = self.module(batch._replace(progress=self.progress), turn)
        if self._look():
            self._check(losses)
        for name, loss in losses.items():
            added = loss.detach().double()
            self.totals[name] = self.totals[name] + added if name in self.totals else added
        return losses

    def _sync(self, last: bool) -> AbstractContextManager[Any]:
        if isinstance(self.module, DistributedDataParallel) and not last:
            return self.module.no_sync()
        return nullcontext()

    def _look(self) -> bool:
        return self.device.type == "cpu" or self.step % LOOK_EVERY == 0 or self.step == self.steps - 1

    def _check(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                step = min(self.step + 1, self.steps)
                last = self.store.last
                kept = f"the last good state is {last}" if last.exists() else "no good state was saved yet"
                raise NonFiniteLoss(
                    f"the loss term {name!r} of phase {self.name!r} became {loss.item()} in epoch "
                    f"{self.epoch + 1}, at or before step {step}{self._largest()}; {kept}; lower lr or the "
                    "weight of a term, or set clip"
                )

    def _largest(self) -> str:
        """Of the terms that were finite before one was not: it tells more than which of them gave way."""
        means = {name: total.item() / max(1, self.step) for name, total in self.totals.items()}
        if not means or not all(map(math.isfinite, means.values())):
            means = dict(self.history[-1]["losses"]) if self.history else {}
        if not means:
            return ""
        name = max(means, key=lambda term: abs(means[term]))
        return f" (before it the largest term was {name!r}, {means[name]:.3g} on average)"

    def _stop_wanted(self) -> bool:
        if distributed.world() == 1:
            return self.stopper.wanted()
        looking = self.step % LOOK_EVERY == 0 or self.step == self.steps
        return looking and distributed.agreed(self.stopper.wanted(), self.device)

    def _wrap(self) -> nn.Module:
        if self.compiled and not self.finished:
            self.display.say("compiling the step; the first one takes a while")
            # Each run of a process would count as one more recompilation of the same code.
            torch.compiler.reset()
            options = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True}
            self.method.compile(fullgraph=True, dynamic=False, options=options if self.replayed else None)
        if distributed.world() == 1:
            return self.method
        return DistributedDataParallel(
            self.method,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            find_unused_parameters=self.method.rests,
            broadcast_buffers=False,
        )

    def _smaller(self) -> str:
        size, accumulate = self.settings.batch_size, self.settings.accumulate
        return (
            f"out of memory at batch size {size} in {accumulate} part(s); try --batch-size "
            f"{max(1, size // 2)}, or keep the batch and add --accumulate {2 * accumulate}"
        )

    # ------------------------------------------------------------ measuring

    def _end_epoch(self) -> None:
        distributed.average_buffers(self.method)
        counted = self.steps * self.settings.accumulate * distributed.world()
        losses = {name: (distributed.total(t) / counted).item() for name, t in self.totals.items()}
        self._check({name: torch.tensor(value) for name, value in losses.items()})
        last = self.done - 1
        self.epoch, self.step, self.totals = self.epoch + 1, 0, {}
        record = {
            "phase": self.name,
            "epoch": self.epoch,
            "lr": self.settings.lr * factor(self.settings, self._share(last)),
            "losses": losses,
            "seconds": self.seconds,
            "images": self.steps * self.settings.batch_size,
            "images_per_s": self.steps * self.settings.batch_size / self.seconds,
        }
        self.seconds = 0.0
        with self.ema.applied() if self.ema is not None else nullcontext():
            record |= self._measure()
            self._keep(record)
        self.history.append(record)
        self._save()
        self.display.epoch(self.done, record, self.settings.epochs)

    def measure(self, loader: Loader) -> Measured:
        """Every read-out over a loader, with the weights as they are; without each class's error."""
        method, precision = self.method, self.settings.precision
        with evaluating(method):
            measured = evaluate(method.readouts, loader, self.device, precision, method.peer_readouts)
        for values in measured.values():
            del values["class_error"]
        return measured

    def _measure(self) -> dict[str, Measured]:
        loaders = {"val": self.feeds.val}
        if self.settings.log_test and self.feeds.test is not None:
            loaders["test"] = self.feeds.test()
        if self.settings.log_train and self.feeds.plain_train is not None:
            loaders["train"] = self.feeds.plain_train()
        return {split: self.measure(x) for split, x in loaders.items() if x is not None}

    def _keep(self, record: dict[str, Any]) -> None:
        """The best weights by the validation split, and those of the epochs asked for."""
        if "val" in record:
            error = next(iter(record["val"].values()))["top1_error"]
            if self.best is None or error < next(iter(self.best["val"].values()))["top1_error"]:
                self.best = {"epoch": self.epoch, "val": record["val"]}
                self._write(self.store.best)
        if self.epoch in self.settings.keep_epochs:
            self._write(self.store.epoch(self.epoch))

    def _write(self, path: Path) -> None:
        if distributed.rank() == 0:
            write_state(path, State(self.method.state_dict(), {"phase": self.name, "epoch": self.epoch}))

    def load_best(self) -> None:
        """Put the best weights by the validation split into the method."""
        self.method.load_state_dict(read_state(self.store.best).tensors)

    def _show(self) -> None:
        if self.display.due():
            count = self.step * self.settings.accumulate
            losses = {name: t.item() / count for name, t in self.totals.items()}
            speed = self.step * self.settings.batch_size / self.seconds
            self.display.step(self.done, f"{self.epoch + 1}/{self.settings.epochs}", losses, speed)

    # ------------------------------------------------------------ checkpoints

    def _save(self) -> None:
        state = pack(self)
        if distributed.rank() == 0:
            self.store.save(state)
            self._write_metrics()
        distributed.barrier()

    def _load(self) -> None:
        state, said = self.store.load()
        for message in said:
            self.display.say(message)
        if state is None:
            return
        unpack(self, state)
        if distributed.rank() == 0:
            self._write_metrics()
        if not self.finished:
            self.display.say(f"resuming phase {self.name!r} after epoch {self.epoch}, step {self.step}")

    def _write_metrics(self) -> None:
        lines = [json.dumps(record) + "\n" for record in [*self.earlier, *self.history]]
        write_bytes(self.metrics, "".join(lines).encode())


def out_of_memory(error: RuntimeError) -> bool:
    """A GPU has an error of its own for it; the CPU's allocator only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
