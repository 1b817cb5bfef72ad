"""A method of a run folder, built again, and the weights of its epochs that are still there.

For what looks at a finished or unfinished run afterwards, all of its networks and not the deployed one alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..config.groups import Training
from ..core import Method
from ..data.dataset import Dataset, fingerprint
from ..engine.checkpoint import Store, read_state
from ..engine.errors import RunError
from ..engine.plan import begin
from ..recipes.catalogue import find, options
from ..recipes.job import Job, load, without
from ..recipes.teachers import teacher_run
from ..runs.folder import read_config
from .run import make_plan

PREFIX = "method."


class Kept(NamedTuple):
    """Weights of a whole method in a run folder.

    Attributes:
        path: of the file.
        why: they are there: "kept", "best" or "last".
    """

    path: Path
    why: str


class Rebuilt(NamedTuple):
    """A phase of a run, built again.

    Attributes:
        method: with fresh weights.
        name: of the phase.
        states: epoch -> its weights.
        phases: how many the plan has.
    """

    method: Method
    name: str
    states: dict[int, Kept]
    phases: int


def kept_config(folder: Path) -> tuple[Training, str]:
    """What a run was trained with, less what it began from, and the name of its method.

    Raises:
        ValueError: not a run folder.
        RunError: the method cannot be built again from its name.
    """
    given = read_config(folder / "run.yaml")
    method = str(given.pop("method"))
    try:
        find(method)
    except ValueError as error:
        if ":" in method:
            raise
        raise RunError(
            f"{folder} was trained from Python by a method or on a network of your own ({method}), which "
            "cannot be built again from its name; give cohobate train a recipe's name, or file.py:Class"
        ) from error
    config = options(method, given)
    # What training began from is not needed to load where it came to, and may be gone.
    model, _ = without(config.model, "weights", "pretrained")
    return config.model_copy(update={"init": None, "model": model}), method


def rebuild(folder: Path, method: str, config: Training, dataset: Dataset) -> Rebuilt:
    """The last phase of a run that has weights in its folder, and these.

    A phase before it is given its own last weights, for what comes after may learn from them.

    Raises:
        RunError: no phase has weights, or they are of another network.
    """
    job = Job(config, dataset, trained=lambda spec: _kept_teacher(spec, config, dataset))
    plan = make_plan(method, job)
    phase = begin(plan, config.seed)
    found: Rebuilt | None = None
    number = 1
    while states := _states(folder / phase.name):
        found = Rebuilt(phase.method, phase.name, states, number)
        last = Store(folder / phase.name).last
        measured: dict[str, Any] = {"history": [], "best": None}
        if last.exists():
            facts = load_kept(phase.method, Kept(last, "last"))
            measured = {key: facts[key] for key in measured}
        try:
            phase = plan.send(measured)
        except StopIteration:
            break
        number += 1
    if found is None:
        raise RunError(
            f"{folder} has no weights of the whole method yet (phase {phase.name}): train it to the end of "
            "an epoch at least; --keep-epochs 1,3 keeps those of the epochs that a picture shall show"
        )
    return found._replace(phases=number)


def _states(folder: Path) -> dict[int, Kept]:
    """Epoch -> the weights of the whole method after it; those kept on purpose win."""
    store = Store(folder)
    found: dict[int, Kept] = {}
    if store.last.exists():
        facts = read_state(store.last).facts
        if facts["step"] == 0:
            found[facts["epoch"]] = Kept(store.last, "last")
    if store.best.exists():
        found.setdefault(read_state(store.best).facts["epoch"], Kept(store.best, "best"))
    for path in folder.glob("epoch-*.safetensors"):
        if number := re.fullmatch(r"epoch-(\d+)", path.stem):
            found[int(number[1])] = Kept(path, "kept")
    return dict(sorted(found.items()))


def wanted_states(
    folder: Path, rebuilt: Rebuilt, epochs: Sequence[int], say: Callable[[str], None]
) -> dict[int, Kept]:
    """The weights of these epochs; of none in particular, those kept on purpose, else the last.

    Args:
        folder: of the run, for messages.
        rebuilt: what it holds.
        epochs: whose weights.
        say: told that the last is taken.

    Raises:
        RunError: an epoch that was not kept.
    """
    states = rebuilt.states
    missing = [epoch for epoch in dict.fromkeys(epochs) if epoch not in states]
    if missing:
        there = ", ".join(f"{epoch} ({kept.why})" for epoch, kept in states.items())
        asked = ",".join(map(str, missing))
        raise RunError(
            f"{folder} did not keep the weights of epoch {asked.replace(',', ', ')}; it has those of epoch "
            f"{there}. A run keeps them when it is trained with --keep-epochs {asked}"
        )
    if epochs:
        return {epoch: states[epoch] for epoch in epochs}
    kept = {epoch: state for epoch, state in states.items() if state.why == "kept"}
    if kept:
        return kept
    epoch, state = max(states.items(), key=lambda item: item[0])
    say(
        f"note: no epochs were kept, so this is epoch {epoch}, the {state.why} one; "
        "train with --keep-epochs 1,3 to see how the maps change"
    )
    return {epoch: state}


def load_kept(method: Method, kept: Kept) -> dict[str, Any]:
    """Put the weights of an epoch into the whole method, self-teacher included; returns their facts.

    Raises:
        RunError: they are of another method or network.
    """
    tensors, facts = read_state(kept.path)
    if kept.why == "last":
        # Of a run with a moving average, that is what was measured and deployed.
        under = {prefix: _under(prefix, tensors) for prefix in (PREFIX, "ema.")}
        tensors = under[PREFIX] | under["ema."]
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{kept.path} holds the weights of another method or network: {error}") from error
    return facts


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _kept_teacher(spec: str, config: Training, dataset: Dataset) -> nn.Module:
    _, folder = teacher_run(spec, config, fingerprint(dataset))
    if not (folder / "result.json").exists():
        raise RunError(f"the teacher {spec} of this run is not in {folder} any more; --teachers said so")
    return load(folder, len(dataset.classes))
