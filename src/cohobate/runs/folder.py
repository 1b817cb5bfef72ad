"""A run's folder: its name, the run that it belongs to, and the provenance written there."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from ..config.files import read_config
from ..config.groups import Bookkeeping, Training
from ..core import Metric
from ..engine import distributed
from ..engine.checkpoint import write_bytes, write_json
from ..engine.errors import RunError
from ..engine.machine import commit, processor
from .layout import RunFolder
from .names import data_name, label_name, place_name


def default_root(config: Training) -> Path:
    """``runs/<data>-<model>``, for runs on the same data, at the same size, with the same model."""
    return Path("runs") / place_name(data_name(config.data, config.image_size), config.model)


def seed_folder(root: Path, label: str, seed: int) -> Path:
    """``<root>/<method and its changed options>/seed-<n>``."""
    return root / label_name(label) / f"seed-{seed}"


def recorded(method: str, config: Training) -> dict[str, Any]:
    """The content of ``run.yaml``."""
    return {"method": method, **config.model_dump(mode="json")}


def write_files(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Each file whole or not at all; the folder is made if need be."""
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in texts]


def claim(
    folder: RunFolder,
    method: str,
    config: Training,
    fingerprint: str,
    notes: tuple[str, ...],
    headline: Metric,
    augmentation: str,
) -> bool:
    """Record in the folder that it belongs to this run, or check that it does.

    Args:
        folder: of the run.
        method: its name.
        config: its options.
        fingerprint: of its data.
        notes: remarks on the data.
        headline: the metric by which it is compared.
        augmentation: what is done to its training images, in words.

    Returns:
        Whether it belonged to another run, of which nothing was trained.

    Raises:
        RunError: see :func:`require_own`.
    """
    # All processes look at the files before the first process writes them.
    require_own(folder, method, config, fingerprint)
    has_provenance, anew = folder.provenance.exists(), untrained(folder)
    other = anew and not is_of(folder, method, config)
    distributed.barrier()
    if (anew or not has_provenance) and distributed.rank() == 0:
        environment = _environment()
        write_bytes(folder.config, yaml.safe_dump(recorded(method, config), sort_keys=False).encode())
        write_json(
            folder.provenance,
            {
                **_provenance(fingerprint, notes, environment),
                "headline": headline._asdict(),
                "augmentation": augmentation,
            },
        )
    return other


def require_own(folder: RunFolder, method: str, config: Training, fingerprint: str) -> None:
    """Check that a folder is new, of this run, or of one of which nothing was trained.

    Raises:
        RunError: it belongs to another configuration, to other data, or (unless ``resume`` is
            ``anyway``) to another torch, number of threads or number of processes.
    """
    if untrained(folder):
        return
    if folder.config.exists():
        _compare(folder.path, *_identities(folder, method, config), "another configuration")
    if folder.provenance.exists():
        provenance = json.loads(folder.provenance.read_text())
        there = {"data_fingerprint": provenance["data_fingerprint"]}
        _compare(folder.path, there, {"data_fingerprint": fingerprint}, "other data")
        if config.resume == "exact" and not folder.finished:
            environment = _environment()
            same = {key: provenance["environment"].get(key) for key in environment}
            hint = "; --resume anyway goes on, but not bit for bit"
            _compare(folder.path, same, environment, "another environment", hint)


def untrained(folder: RunFolder) -> bool:
    """Whether a run was begun in the folder and ended before its first checkpoint."""
    trained = folder.finished or folder.metrics.exists() or any(folder.path.glob("*/*.safetensors"))
    return folder.config.exists() and not trained


@contextmanager
def in_use(folder: RunFolder) -> Iterator[None]:
    """Keep other processes from training in the folder.

    Raises:
        RunError: another process trains there, or the folder cannot be written.
    """
    lock = FileLock(folder.path / ".lock", timeout=0)
    obstacle = ""
    if distributed.rank() == 0:
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            obstacle = f"another process trains in {folder.path}; wait for it"
        except OSError as error:
            obstacle = f"cannot write {folder.config} ({error.strerror}); make room for it"
    if obstacle := distributed.gathered(obstacle)[0]:
        raise RunError(f"{obstacle}, or give another --out")
    try:
        yield
    finally:
        lock.release()


def is_of(folder: RunFolder, method: str, config: Training) -> bool:
    """Whether a folder that has been claimed belongs to this configuration."""
    before, now = _identities(folder, method, config)
    return before == now


def _identities(folder: RunFolder, method: str, config: Training) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that decide the weights of a run: as the folder records them, and as asked for now."""
    # An option that did not exist when the folder was written counts as at its default.
    known = type(config).model_construct().model_dump(mode="json", warnings=False)
    both = {**known, **read_config(folder.config)}, recorded(method, config)
    left_out = set(Bookkeeping.model_fields)
    if not all(options.get("teacher") for options in both):
        # How a teacher would be trained does not affect a run without one.
        left_out |= {name for options in both for name in options if name.startswith("teacher_")}
    before, now = ({k: v for k, v in options.items() if k not in left_out} for options in both)
    return before, now


def _compare(folder: Path, before: dict[str, Any], now: dict[str, Any], owner: str, hint: str = "") -> None:
    keys = [k for k in [*before, *(k for k in now if k not in before)] if before.get(k) != now.get(k)]
    if keys:
        listed = "\n".join(f"  {k}: {before.get(k)!r} there, {now.get(k)!r} asked for" for k in keys)
        raise RunError(f"{folder} belongs to {owner}:\n{listed}\ngive another --out, or remove it{hint}")


def _environment() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": distributed.world(),
    }


def _provenance(fingerprint: str, notes: tuple[str, ...], environment: dict[str, Any]) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "cohobate": version("cohobate"),
        "commit": commit(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {processor().name}",
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "data_fingerprint": fingerprint,
        "data_notes": list(notes),
        "environment": environment,
    }
