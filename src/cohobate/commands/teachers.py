"""Teachers by the name of a model: trained once, plainly, and kept for all runs that ask for the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from ..config.files import read_config
from ..config.groups import Bookkeeping, Images, Network, Numerics, Optimisation, Training
from ..config.words import count
from ..engine import distributed
from ..recipes.options import options, recorded_options
from ..report.tables.text import stem, valued
from ..runs.layout import RunFolder
from ..runs.names import data_name, plain
from .result import headline, metric_of

METHOD = "baseline"
"""The method that trains teachers."""


def teacher_run(spec: str, training: Training, fingerprint: str) -> tuple[Training, RunFolder]:
    """The options with which a teacher is trained, and its folder.

    The folder of a teacher that was trained with the same options, in any precision and on any device, is
    used again; else the name of a new folder contains a digest of the options.
    """
    shared = [name for group in (Images, Optimisation, Numerics, Bookkeeping) for name in group.shared()]
    values = {name: getattr(training, name) for name in shared}
    values |= {"model": spec, "seed": training.teacher_seed}
    values["epochs"] = training.teacher_epochs or training.epochs
    values["lr"] = training.teacher_lr or training.lr
    config = options(METHOD, values)
    folder = _kept(spec, config, fingerprint)
    if folder.config.exists():
        before = read_config(folder.config)
        config = config.model_copy(update={key: before[key] for key in Numerics.model_fields})
    return config, folder


def _kept(spec: str, config: Training, fingerprint: str) -> RunFolder:
    wanted = _identity(config)
    name = plain(f"{data_name(config.data, config.image_size)}-{spec}")
    # The names of folders that were made earlier do not have the size of the images.
    earlier = plain(f"{data_name(config.data, None)}-{spec}")
    for path in (path for each in (name, earlier) for path in sorted(config.teachers.glob(f"{each}-*"))):
        folder = RunFolder(path)
        if folder.provenance.exists() and _of(folder) == (wanted, fingerprint):
            return folder
    digest = hashlib.blake2b(json.dumps([wanted, fingerprint], sort_keys=True).encode(), digest_size=5)
    return RunFolder(config.teachers / f"{name}-{digest.hexdigest()}")


def _of(folder: RunFolder) -> tuple[dict[str, Any], str]:
    recorded = read_config(folder.config)
    known = {key: value for key, value in recorded.items() if key in Training.model_fields}
    provenance = json.loads(folder.provenance.read_text())
    return _identity(recorded_options(METHOD, known)), provenance["data_fingerprint"]


def _identity(config: Training) -> dict[str, Any]:
    """The options on which a teacher depends: images, network and optimisation."""
    names = {name for group in (Images, Network, Optimisation) for name in group.model_fields}
    return config.model_dump(mode="json", include=names)


def trained_teacher(
    spec: str,
    training: Training,
    fingerprint: str,
    train: Callable[[Training, RunFolder], None],
    say: Callable[[str], None],
) -> Path:
    """The folder of a teacher trained on this data by the baseline; it is trained now if it was not before.

    Args:
        spec: the model.
        training: the options of the run that asks for it.
        fingerprint: of its data.
        train: trains with these options in this folder.
        say: prints a line on the training of the teacher, and on how good it is.
    """
    config, folder = teacher_run(spec, training, fingerprint)
    # The first process checks for all, as another run may finish this teacher in the meantime.
    if not distributed.gathered(folder.finished)[0]:
        say(
            f"teacher {spec}: training it first, {count(config.epochs, 'epoch')}, to be kept in {folder.path}"
        )
        with alone(folder.path):
            train(config, folder)
    facts = json.loads(folder.result.read_text())
    split, value = headline(facts)
    length = count(facts["epochs"], "epoch")
    say(f"teacher {spec}: {split} {valued(metric_of(facts), value)}, {length}, kept in {folder.path}")
    return folder.path


def teacher_facts(spec: str, folder: RunFolder) -> dict[str, Any]:
    """What the result of a run records of a teacher that was trained by the name of its model.

    Returns:
        ``model``, ``folder``, ``epochs`` and ``train_seconds`` of its training, ``parameters``, and
        the headline metric of its last epoch on ``split``: ``error``, or ``miou``.
    """
    facts = json.loads(folder.result.read_text())
    split, value = headline(facts)
    return {
        "model": spec,
        "folder": str(folder.path),
        "epochs": facts["last"]["epoch"],
        "train_seconds": facts["train_seconds"],
        "parameters": facts["parameters_deployed"],
        "split": split,
        stem(metric_of(facts)): value,
    }


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """A lock on the folder, so that one run at a time trains the teacher and others wait."""
    if distributed.rank() > 0:
        distributed.barrier()
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        distributed.barrier()
        yield
