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
        why: they are there: "kept", "best" or "last".
    """

    path: Path
    why: str


def states_of(folder: Path) -> dict[int, Kept]:
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
    folder: Path, states: Mapping[int, Kept], epochs: Sequence[int], say: Callable[[str], None]
) -> dict[int, Kept]:
    """The weights of these epochs; of none in particular, those kept on purpose, else the last.

    Args:
        folder: of the run, for messages.
        states: what it holds.
        epochs: whose weights.
        say: told that the last is taken.

    Raises:
        RunError: an epoch that was not kept.
    """
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
