"""Rebuilds the method of a run from its folder.

For commands that need all networks of a finished or unfinished run, not only the deployed one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..config.files import read_config
from ..config.grammar import without
from ..core import Method
from ..data.dataset import fingerprint
from ..engine.checkpoint import Store
from ..engine.errors import RunError
from ..engine.plan import begin
from ..recipes.networks import load
from ..recipes.options import recorded_options
from ..recipes.recipe import find
from ..runs.finding import require_run
from ..runs.kept import Kept, load_kept, states_of
from ..runs.layout import RunFolder
from .images import without_check
from .prepare import Prepared, prepare
from .teachers import teacher_run


class Rebuilt(NamedTuple):
    """A phase of a run, built again.

    Attributes:
        method: with fresh weights.
        name: of the phase.
        states: epoch -> file of the weights after it.
        phases: number of phases built so far, with the next one that has no weights yet.
    """

    method: Method
    name: str
    states: dict[int, Kept]
    phases: int


def prepared_of(folder: Path, **changed: Any) -> Prepared:
    """The prepared run of a folder, without the weights that its training began from.

    Args:
        folder: of the run.
        **changed: options that are others by now: where its images are, the device.

    Raises:
        FileNotFoundError: not a run folder.
        RunError: the method cannot be built again from its name.
    """
    require_run(folder)
    recorded = read_config(RunFolder(folder).config)
    method = str(recorded.pop("method"))
    try:
        find(method)
    except ValueError as error:
        if ":" in method:
            raise
        raise RunError(
            f"{folder} was trained from Python by a method or on a network of your own ({method}), which "
            "cannot be built again from its name; give cohobate train a recipe's name, or file.py:Class"
        ) from error
    config = without_check(recorded_options(method, recorded))
    # The initial weights are not needed, as the trained ones are loaded; their file may be gone. Nor are the
    # trackers of the training.
    model, _ = without(config.model, "weights", "pretrained")
    update = {"init": None, "model": model, "track": (), **changed}
    return prepare(method, config.model_copy(update=update))


def rebuild(folder: Path, prepared: Prepared) -> Rebuilt:
    """The last phase of a run with weights in its folder.

    The last weights of each earlier phase are loaded, since later phases may use its networks.

    Raises:
        RunError: no phase has weights, or they are of another network.
    """
    job = prepared.job(lambda message: None, lambda spec: kept_teacher(spec, prepared))
    plan = prepared.make_plan(job)
    phase = begin(plan, prepared.config.seed)
    rebuilt: Rebuilt | None = None
    number = 1
    while states := states_of(folder / phase.name):
        rebuilt = Rebuilt(phase.method, phase.name, states, number)
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
    if rebuilt is None:
        raise RunError(
            f"{folder} has no weights of the whole method yet (phase {phase.name}): train it to the end of "
            "an epoch at least; --keep-epochs 1,3 keeps those of the epochs that a picture shall show"
        )
    return rebuilt._replace(phases=number)


def kept_teacher(spec: str, prepared: Prepared) -> nn.Module:
    """A teacher that was trained for a run by the name of its model.

    Raises:
        RunError: it is not in its folder any more.
    """
    _, folder = teacher_run(spec, prepared.config, fingerprint(prepared.dataset))
    if not folder.finished:
        raise RunError(
            f"the teacher {spec} of this run is not in {folder.path} any more, below its --teachers "
            f"{prepared.config.teachers}; train the run again, or put the folder back"
        )
    return load(folder.path, len(prepared.dataset.classes)).network
