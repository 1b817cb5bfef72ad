"""The phases of a plan, one after the other; a finished one is loaded, not trained again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from ..config.groups import Settings
from ..core import Ending, Plan
from . import distributed
from .checkpoint import State, Store, write_state
from .feeds import Feeds
from .keeping import Observe, unobserved
from .loop import Trainer
from .progress import Display
from .randomness import seed_all
from .signals import Stopper
from .spent import Spent, Tally


class Files(Protocol):
    """The files of a run.

    Attributes:
        path: the folder, in which each phase has its own.
        metrics: a JSON line an epoch.
        deployed: the network to deploy, weights of the last epoch.
        deployed_best: the same of the best epoch on the validation split.
    """

    @property
    def path(self) -> Path: ...

    @property
    def metrics(self) -> Path: ...

    @property
    def deployed(self) -> Path: ...

    @property
    def deployed_best(self) -> Path: ...


class Outcome(NamedTuple):
    """A finished plan.

    Attributes:
        trainer: of the last phase, with the last weights.
        history: a record an epoch, of all phases.
        last: epoch and measurements (``val``, ``test``) of the last epoch's deployed weights.
        best: the same of the best epoch on the validation split; None without one.
        phases: what each phase took.
        parameters_trained: in any phase, each counted once.
        found: what the plan found out.
    """

    trainer: Trainer
    history: list[dict[str, Any]]
    last: dict[str, Any]
    best: dict[str, Any] | None
    phases: list[Spent]
    parameters_trained: int
    found: Mapping[str, Any]


def begin(plan: Plan, seed: int) -> Any:
    """Seed everything, then let the plan build its first phase."""
    seed_all(seed + 1_000_003 * distributed.rank())
    return next(plan)


def run_plan(
    plan: Plan,
    feeds: Feeds,
    settings: Settings,
    device: torch.device,
    files: Files,
    display: Display,
    stopper: Stopper,
    about: dict[str, Any],
    observe: Observe = unobserved,
) -> Outcome:
    """Train every phase, then measure the last one's weights, last and best, on the test set.

    The test set is read here, at the end, unless ``log_test`` asked for its curve. The deployed
    networks are written with ``about`` in their header, and with what the plan found of them. ``observe``
    is told the records as in :class:`Trainer`.

    Raises:
        Stopped, RunError: see :meth:`Trainer.run`.
    """
    history: list[dict[str, Any]] = []
    phases: list[Spent] = []
    tally = Tally()
    phase = begin(plan, settings.seed)
    while True:
        store = Store(files.path / phase.name)
        trainer = Trainer(
            phase, feeds, settings, device, store, files.metrics, history, display, stopper, observe
        )
        measured = trainer.run()
        own = trainer.standing.history
        history = history + own
        phases.append(Spent.by(phase.name, trainer.settings.epochs, phase.method, own))
        tally.add(phase.method)
        try:
            phase = plan.send(measured)
        except StopIteration as end:
            ending: Ending = end.value or Ending()
            last, best = _measured(trainer, feeds, files, about, ending)
            return Outcome(trainer, history, last, best, phases, tally.total, ending.found)


def _measured(
    trainer: Trainer, feeds: Feeds, files: Files, about: dict[str, Any], ending: Ending
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Deploy and measure the last weights, and the best ones if there is a validation split."""
    test = feeds.test() if feeds.test is not None else None
    if ending.members:
        about = {**about, "members": list(ending.members)}

    def deploy(epoch: int, file: Path, found: Mapping[str, Any]) -> dict[str, Any]:
        network = next(iter(trainer.method.predictors().values()))
        trainer.watch.deployed(network, epoch)
        val = trainer.measure(feeds.val, "val") if feeds.val is not None else None
        tested = trainer.measure(test, "test") if test is not None else None
        if distributed.rank() == 0:
            facts = {**about, "epoch": epoch, **({"found": dict(found)} if found else {})}
            write_state(file, State(network.state_dict(), facts))
        return {"epoch": epoch, "val": val, "test": tested}

    last = deploy(trainer.standing.epoch, files.deployed, ending.found)
    best_so_far = trainer.standing.best
    if best_so_far is None:
        return last, None
    weights = {k: v.detach().clone() for k, v in trainer.method.state_dict().items()}
    trainer.keeper.load_best()
    best = deploy(best_so_far["epoch"], files.deployed_best, {})
    trainer.method.load_state_dict(weights)
    return last, best
