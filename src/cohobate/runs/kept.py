"""Weights of whole methods in a run's folder, epoch by epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..core import Method
from ..engine.checkpoint import Store, read_state
from ..engine.errors import RunError

PREFIX = "method."


class Kept(NamedTuple):
    """Weights of a whole method in a run folder.

    Attributes:
        path: of the file.
        why: reason for storing them: "kept" (``keep_epochs``), "best" or "last".
    """

    path: Path
    why: str


def states_of(folder: Path) -> dict[int, Kept]:
    """Epoch -> file of the method's weights after it; a file of ``keep_epochs`` comes before the others."""
    store = Store(folder)
    states: dict[int, Kept] = {}
    if store.last.exists():
        facts = read_state(store.last).facts
        if facts["step"] == 0:
            states[facts["epoch"]] = Kept(store.last, "last")
    if store.best.exists():
        states.setdefault(read_state(store.best).facts["epoch"], Kept(store.best, "best"))
    for path in folder.glob("epoch-*.safetensors"):
        if number := re.fullmatch(r"epoch-(\d+)", path.stem):
            states[int(number[1])] = Kept(path, "kept")
    return dict(sorted(states.items()))


def wanted_states(
    folder: Path, states: Mapping[int, Kept], epochs: Sequence[int], say: Callable[[str], None]
) -> dict[int, Kept]:
    """The weights of the named epochs; without epochs, all of ``keep_epochs``, or else the last.

    Args:
        folder: of the run, for messages.
        states: all weights in the folder (:func:`states_of`).
        epochs: numbers of the epochs; may be empty.
        say: prints a note if the last weights are returned instead of those of ``keep_epochs``.

    Raises:
        RunError: the weights of an epoch were not stored.
    """
    missing = [epoch for epoch in dict.fromkeys(epochs) if epoch not in states]
    if missing:
        stored = ", ".join(f"{epoch} ({state.why})" for epoch, state in states.items())
        asked = ",".join(map(str, missing))
        raise RunError(
            f"{folder} did not keep the weights of epoch {asked.replace(',', ', ')}; it has those of epoch "
            f"{stored}. A run keeps them when it is trained with --keep-epochs {asked}"
        )
    if epochs:
        return {epoch: states[epoch] for epoch in epochs}
    on_purpose = {epoch: state for epoch, state in states.items() if state.why == "kept"}
    if on_purpose:
        return on_purpose
    epoch, state = max(states.items(), key=lambda item: item[0])
    say(
        f"note: no epochs were kept, so this is epoch {epoch}, the {state.why} one; "
        "train with --keep-epochs 1,3 to see how the maps change"
    )
    return {epoch: state}


def load_kept(method: Method, state: Kept) -> dict[str, Any]:
    """Load the weights of an epoch into a method, all of its networks included; returns the facts.

    Raises:
        RunError: the weights belong to another method or network.
    """
    tensors, facts = read_state(state.path)
    if state.why == "last":
        # A run with a moving average is measured and deployed with the averages.
        under = {prefix: _under(prefix, tensors) for prefix in (PREFIX, "ema.")}
        tensors = under[PREFIX] | under["ema."]
    try:
        method.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(f"{state.path} holds the weights of another method or network: {error}") from error
    return facts


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
