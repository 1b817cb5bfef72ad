"""Checkpoints that survive a kill at any moment: safetensors with JSON in the header, no pickle.

A file is written under a temporary name of the process, flushed to the disk and renamed, so a file of the
final name is always complete. Before ``last`` is replaced it is renamed to ``previous``, which is read if
``last`` is damaged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .errors import RunError

LEFT_AFTER = 600
"""Seconds without a change after which a temporary file is one of a process that was killed."""


class State(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        tensors: name -> tensor, on the CPU.
        facts: values that JSON can represent.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all.

    Raises:
        RunError: the disk is full, or the folder cannot be written; an older file stays as it is.
    """
    write_all({path: data})


def write_all(files: Mapping[Path, bytes]) -> None:
    """Write several files: all of them complete under temporary names before the first is renamed.

    Raises:
        RunError: as :func:`write_bytes`; then none of them is written. Should a renaming itself fail, the
            message names the files that are new by then; each is complete.
    """
    temporary = {path: temporary_of(path) for path in files}
    renamed: list[str] = []
    path = Path()
    try:
        for path, data in files.items():
            _write_synced(path, temporary[path], data)
        for path in files:
            temporary[path].replace(path)
            renamed.append(str(path))
        for folder in dict.fromkeys(path.parent for path in files):
            _sync_folder(folder)
    except OSError as error:
        new = f" but {', '.join(renamed)}, written anew," if renamed else ""
        raise RunError(
            f"cannot write {path} ({len(files[path]) / 2**20:.1f} MiB): {error.strerror or error}; "
            f"files saved before{new} are intact: make room or make the folder writable, then run the same "
            "command again"
        ) from error
    finally:
        for each in temporary.values():
            with suppress(OSError):
                each.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """Under which this process writes a file before it is renamed: no other process writes there."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def _forget_killed(path: Path) -> None:
    """Remove what a process that was killed on this machine has left of the same file."""
    pattern = re.compile(re.escape(path.name) + r"\.([0-9]{1,9})\.tmp")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found is None or _lives(int(found[1])):
            continue
        with suppress(OSError):
            # The process may be one of another machine that shares the folder, and be at work.
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFT_AFTER:
                os.unlink(entry.path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _write_synced(path: Path, temporary: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _forget_killed(path)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write a value that JSON can represent; raises a ValueError for a number that is not finite."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_state(path: Path, state: State) -> None:
    write_bytes(path, state_bytes(state))


def state_bytes(state: State, **metadata: str) -> bytes:
    """The content of a file of a state, with more metadata in its header for other readers."""
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.tensors.items()}
    data = save(tensors, {**metadata, "facts": json.dumps(state.facts)})
    return _in_order(data) if metadata else data


def _in_order(data: bytes) -> bytes:
    """The same file with its metadata sorted by name; safetensors writes them in another order each time."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors behind it stay aligned
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """What tells the weights of one network from those of any other: 32 hexadecimal digits.

    Args:
        tensors: a state dict; its names, shapes, kinds and bytes count, in the order of the names.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state(path: Path) -> State:
    """Read a checkpoint.

    Raises:
        RunError: the file is missing, truncated, or not a checkpoint.
    """
    data = _bytes(path)
    tensors = _tensors(path, data)
    try:
        length = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["facts"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} is a safetensors file but not a checkpoint of cohobate") from error
    return State(tensors, facts)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return load(data)
    except SafetensorError as error:
        raise RunError(f"{path} is truncated or not a safetensors file ({error})") from error


class Store:
    """The checkpoints of one phase, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.safetensors"
        self.previous = folder / "previous.safetensors"
        self.best = folder / "best.safetensors"

    def epoch(self, number: int) -> Path:
        return self.folder / f"epoch-{number:04d}.safetensors"

    def save(self, state: State) -> None:
        """Write ``last``; the former ``last`` becomes ``previous``."""
        new = self.folder / "next.safetensors"
        write_state(new, state)
        try:
            if self.last.exists():
                self.last.replace(self.previous)
            new.replace(self.last)
            _sync_folder(self.folder)
        except OSError as error:
            raise RunError(f"cannot rename checkpoints in {self.folder}: {error.strerror}") from error

    def load(self) -> tuple[State | None, list[str]]:
        """The newest checkpoint that can be read, and messages about those that cannot."""
        messages: list[str] = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                return read_state(path), messages
            except RunError as error:
                messages.append(f"{error}; falling back to the checkpoint before it")
        if messages:
            raise RunError(f"no checkpoint in {self.folder} can be read: {messages[-1]}")
        return None, messages


def flatten_optimizer(state: Mapping[int, Mapping[str, Any]], prefix: str) -> dict[str, Tensor]:
    """``optimizer.state_dict()["state"]`` as tensors named ``<prefix><parameter>.<entry>``."""
    return {
        f"{prefix}{index}.{name}": torch.as_tensor(value)
        for index, entry in state.items()
        for name, value in entry.items()
        if value is not None
    }


def nest_optimizer(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    """The inverse of :func:`flatten_optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(prefix):
            index, name = key[len(prefix) :].split(".", 1)
            state.setdefault(int(index), {})[name] = tensor
    return state
