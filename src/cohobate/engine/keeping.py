"""What a phase leaves in its folder: checkpoints, the weights of chosen epochs, the metrics."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from . import distributed
from .checkpoint import State, Store, read_state, write_bytes, write_state
from .evaluate import Measures
from .snapshot import Moving, pack, unpack

Observe = Callable[[Sequence[Mapping[str, Any]]], None]
"""Is told the records of all epochs so far, those of earlier phases first."""


def unobserved(records: Sequence[Mapping[str, Any]]) -> None:
    """Nobody watches the run."""


class Keeper:
    """Writes the state of a phase, and reads it back.

    Args:
        moving: what training changes.
        store: the checkpoints.
        metrics: file to which a line of JSON is written for each epoch.
        earlier: records of the epochs of earlier phases.
    """

    def __init__(self, moving: Moving, store: Store, metrics: Path, earlier: list[dict[str, Any]]) -> None:
        self.moving, self.store = moving, store
        self.metrics, self.earlier = metrics, earlier

    @property
    def records(self) -> list[dict[str, Any]]:
        """One for each epoch that has ended, those of earlier phases first."""
        return [*self.earlier, *self.moving.standing.history]

    def save(self) -> None:
        """Write a checkpoint and the metrics; every process must call it."""
        state = pack(self.moving)
        if distributed.rank() == 0:
            self.store.save(state)
            self._write_metrics()
        distributed.barrier()

    def load(self, device: torch.device, say: Callable[[str], None]) -> bool:
        """Go on from the newest checkpoint, if there is one; whether there is.

        Raises:
            RunError: no checkpoint can be read, or it belongs to another frozen teacher.
        """
        state, messages = self.store.load()
        for message in messages:
            say(message)
        if state is None:
            return False
        unpack(self.moving, state, device, self.store.folder)
        if distributed.rank() == 0:
            self._write_metrics()
        return True

    def keep(self, record: dict[str, Any], measures: Measures, epochs: Container[int]) -> None:
        """Write the weights if the epoch is the best on the validation split, or one of ``epochs``.

        Args:
            record: of the epoch that has ended.
            measures: say which of two epochs is better.
            epochs: whose weights are kept in any case.
        """
        standing = self.moving.standing
        if "val" in record:
            new, best = measures.headline_of(record["val"]), standing.best
            if best is None or measures.headline.better(new, measures.headline_of(best["val"])):
                standing.best = {"epoch": standing.epoch, "val": record["val"]}
                self._write(self.store.best)
        if standing.epoch in epochs:
            self._write(self.store.epoch(standing.epoch))

    def load_best(self) -> None:
        """Load the weights of the best epoch on the validation split into the method."""
        self.moving.method.load_state_dict(read_state(self.store.best).tensors)

    def _write(self, path: Path) -> None:
        if distributed.rank() == 0:
            facts = {"phase": self.moving.standing.name, "epoch": self.moving.standing.epoch}
            write_state(path, State(self.moving.method.state_dict(), facts))

    def _write_metrics(self) -> None:
        write_bytes(self.metrics, "".join(json.dumps(record) + "\n" for record in self.records).encode())
