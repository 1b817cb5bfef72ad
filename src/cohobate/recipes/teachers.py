"""Teachers: found or trained once and kept, averaged, shown the images as they know them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ..config.training import NOT_IDENTITY, Training

if TYPE_CHECKING:
    from torch import nn

    from ..core import Frozen
    from .job import Job

NUMERICS = frozenset({"precision", "layout", "device", "compile"})
"""How a kept teacher was computed; one that is there is taken as it is."""

OF_THE_STUDENT = (
    *("teacher", "teacher_epochs", "teacher_lr", "teacher_seed", "init", "keep_epochs", "log_train"),
    *("log_test", "augmentations", "cache_teacher", "unlabelled", "unlabelled_share"),
)
"""Options that a teacher which is trained here does not share."""

LATER = frozenset({"mixing", "mixing_alpha", "mixing_share", "autoaugment", "cutout"})
"""Options that teachers kept before did not know: by default they leave a teacher's folder its name."""


def teacher(job: Job) -> Frozen:
    """The teacher of a run, frozen; the mean of several.

    Raises:
        ValueError: none was given, or one has other classes.
        RunError: a file cannot be read.
    """
    from ..core import Frozen, Mean

    specs = job.training.teacher
    if not specs:
        raise ValueError(
            "this method needs a teacher: give --teacher a run folder, its deployed.safetensors, a "
            "model with its weights (resnet32x4:weights=FILE), or the name of a model to train first "
            "(`cohobate list models`)"
        )
    with unchanged_randomness():
        networks = [_one(spec, job) for spec in specs]
    return Frozen(networks[0] if len(networks) == 1 else Mean(networks), copy=False)


def _one(spec: str, job: Job) -> nn.Module:
    """A network that is ready to teach, shown images normalised as it knows them."""
    from ..engine.checkpoint import read_state
    from ..models.registry import parse
    from ..models.surgery.normalised import pretrained_for
    from .job import load, without

    spec, given = _statistics(spec)
    if (deployed := _deployed(spec)) is not None:
        network = load(deployed, classes=job.classes)
        facts = read_state(deployed).facts
        return _shown(network, given or (facts["mean"], facts["std"]), spec, job)
    if without(spec, "weights", "pretrained")[0] != spec:
        network = job.build(spec)
        theirs = pretrained_for(network, job.classes) if parse(spec)[1].get("pretrained") else None
        if theirs is not None or without(spec, "weights")[1]:
            return _shown(network, given or theirs, spec, job)
    if given is not None:
        raise ValueError(f"mean and std are of a teacher that has its weights; {spec} learns from our images")
    return job.trained(spec)


def untrained(job: Job, count: int) -> list[nn.Module]:
    """Fresh networks of the teacher's architecture.

    Raises:
        ValueError: there are several teachers, or the one that was given cannot be built by name.
    """
    from ..engine.checkpoint import read_state
    from .job import without

    if len(job.training.teacher) > 1:
        listed = ", ".join(job.training.teacher)
        raise ValueError(f"this method copies the teacher's architecture and takes one, got {listed}")
    spec = job.training.teacher[0]
    if (deployed := _deployed(spec)) is not None:
        spec = read_state(deployed).facts["model"]
    bare, _ = without(spec, "weights", "pretrained", "mean", "std")
    return [job.build(bare) for _ in range(count)]


def _statistics(spec: str) -> tuple[str, Any]:
    """A spec without ``mean`` and ``std``, and their values where they are given."""
    from .job import without

    rest, mean = without(spec, "mean")
    rest, std = without(rest, "std")
    if len(mean) != len(std):
        raise ValueError(f"mean and std belong together, got one of them in {spec}")
    return rest, (mean[0], std[0]) if mean else None


def _deployed(spec: str) -> Path | None:
    """The file of a deployed network, if the spec is one or a run's folder."""
    path = Path(spec)
    if path.is_dir():
        return path / "deployed.safetensors"
    return path if spec.endswith(".safetensors") and ":weights=" not in spec else None


def _shown(network: nn.Module, theirs: Any, spec: str, job: Job) -> nn.Module:
    from ..models.surgery.normalised import Renormalised

    if theirs is None:
        return network
    theirs = tuple(_channels(value, spec) for value in theirs)
    ours = job.dataset.mean, job.dataset.std
    if theirs == ours:
        return network
    words = " and ".join("/".join(f"{v:.4f}" for v in channels) for channels in theirs)
    job.say(f"the teacher {spec} sees its images normalised by its own mean and deviation, {words}")
    return Renormalised(network, ours, theirs)


def _channels(value: Any, spec: str) -> tuple[float, ...]:
    """Three numbers, written 0.5/0.5/0.5 in a spec."""
    try:
        channels = tuple(float(v) for v in (value.split("/") if isinstance(value, str) else value))
    except ValueError:
        channels = ()
    if len(channels) != 3:
        raise ValueError(f"mean and std of {spec} are three numbers, 0.5/0.5/0.5, got {value!r}")
    return channels


# ---------------------------------------------------------------- trained once


def teacher_run(spec: str, training: Training, fingerprint: str) -> tuple[Training, Path]:
    """How a teacher is trained, and the folder that keeps it: its name tells the configuration apart."""
    from ..runs.folder import plain, read_config, recorded
    from .catalogue import options

    given = {key: getattr(training, key) for key in Training.model_fields if key not in OF_THE_STUDENT}
    given |= {"model": spec, "seed": training.teacher_seed}
    given["epochs"] = training.teacher_epochs or training.epochs
    given["lr"] = training.teacher_lr or training.lr
    config = options("baseline", given)
    kept = {k: v for k, v in recorded("baseline", config).items() if k not in NOT_IDENTITY | NUMERICS}
    kept = {k: v for k, v in kept.items() if k not in LATER or v != Training.model_fields[k].default}
    digest = hashlib.blake2b(json.dumps([kept, fingerprint], sort_keys=True).encode(), digest_size=5)
    name = plain(f"{Path(config.data).name}-{spec}")
    folder = training.teachers / f"{name}-{digest.hexdigest()}"
    if (folder / "run.yaml").exists():
        before = read_config(folder / "run.yaml")
        config = config.model_copy(update={key: before[key] for key in NUMERICS})
    return config, folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one run at a time trains what the folder keeps; the others wait for it."""
    from ..engine import distributed

    if distributed.rank() > 0:
        distributed.barrier()
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        distributed.barrier()
        yield


@contextmanager
def unchanged_randomness() -> Iterator[None]:
    """Training a teacher, or finding it trained, must leave the student's draws alike."""
    from ..engine.randomness import random_state, restore

    state = random_state()
    try:
        yield
    finally:
        restore(*state)
