"""Teachers: loaded, or trained once and stored; averaged; their input renormalised where needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..config.grammar import without
from ..core import Frozen, Mean
from ..models.registry import parse
from ..models.surgery.normalised import Renormalised, pretrained_for
from ..runs.deployed import Deployed, read_deployed
from .networks import rebuilt

if TYPE_CHECKING:
    from .job import Job


def teacher(job: Job) -> Frozen:
    """The teacher of a run, frozen; the mean of several.

    Raises:
        ValueError: the run has no teacher, or one that predicts other classes.
        RunError: a file cannot be read.
    """
    specs = job.training.teacher
    if not specs:
        raise ValueError(
            "this method needs a teacher: give --teacher a run folder, its deployed.safetensors, a "
            "model with its weights (resnet32x4:weights=FILE), or the name of a model to train first "
            "(`cohobate list models`)"
        )
    # Training a teacher, or reading it, must leave the draws of the student's weights alike.
    with job.apart():
        networks = [_one(spec, job) for spec in specs]
    return Frozen(networks[0] if len(networks) == 1 else Mean(networks), copy=False)


def _one(spec: str, job: Job) -> nn.Module:
    """A trained network, behind a change of normalisation if it was trained with other statistics."""
    spec, statistics = _statistics(spec)
    if (deployed := _deployed(spec)) is not None:
        _require_channels(deployed, spec, job)
        return _shown(rebuilt(deployed, job.classes), statistics or deployed.statistics, spec, job)
    if without(spec, "weights", "pretrained")[0] != spec:
        network = job.build(spec)
        theirs = pretrained_for(network, job.classes) if parse(spec)[1].get("pretrained") else None
        if theirs is not None or without(spec, "weights")[1]:
            return _shown(network, statistics or theirs, spec, job)
    if statistics is not None:
        raise ValueError(f"mean and std are of a teacher that has its weights; {spec} learns from our images")
    return job.trained(spec)


def untrained(job: Job, count: int) -> list[nn.Module]:
    """Fresh networks of the teacher's architecture.

    Raises:
        ValueError: there are several teachers, or a teacher that cannot be built by name.
    """
    if len(job.training.teacher) > 1:
        listed = ", ".join(job.training.teacher)
        raise ValueError(f"this method copies the teacher's architecture and takes one, got {listed}")
    spec = job.training.teacher[0]
    if (deployed := _deployed(spec)) is not None:
        spec = deployed.model
    bare, _ = without(spec, "weights", "pretrained", "mean", "std")
    return [job.build(bare) for _ in range(count)]


def _statistics(spec: str) -> tuple[str, Any]:
    """A spec without ``mean`` and ``std``, and their values, or None."""
    rest, mean = without(spec, "mean")
    rest, std = without(rest, "std")
    if len(mean) != len(std):
        raise ValueError(f"mean and std belong together, got one of them in {spec}")
    return rest, (mean[0], std[0]) if mean else None


def _deployed(spec: str) -> Deployed | None:
    """The deployed network, if the spec is its file or a run's folder."""
    is_file = spec.endswith(".safetensors") and ":weights=" not in spec
    return read_deployed(spec) if is_file or Path(spec).is_dir() else None


def _shown(network: nn.Module, theirs: Any, spec: str, job: Job) -> nn.Module:
    if theirs is None:
        return network
    theirs = tuple(_channels(value, spec, job.shape[0]) for value in theirs)
    ours = job.dataset.mean, job.dataset.std
    if theirs == ours:
        return network
    words = " and ".join("/".join(f"{v:.4f}" for v in channels) for channels in theirs)
    job.say(f"the teacher {spec} sees its images normalised by its own mean and deviation, {words}")
    return Renormalised(network, ours, theirs)


def _require_channels(deployed: Deployed, spec: str, job: Job) -> None:
    """Raise a ValueError if a teacher sees images of another number of channels than the run has."""
    theirs, ours = deployed.shape[0], job.shape[0]
    if theirs != ours:
        raise ValueError(
            f"the teacher {spec} sees images of {theirs} channels, those of {job.dataset.name} have {ours}; "
            f"train one on such images, or give --channels {theirs}"
        )


def _channels(value: Any, spec: str, count: int) -> tuple[float, ...]:
    """A number for each channel, written 0.5/0.5/0.5 in a spec."""
    try:
        parts = value.split("/") if isinstance(value, str) else value
        channels = tuple(float(part) for part in parts)
    except ValueError:
        channels = ()
    if len(channels) != count:
        wanted = {1: "one number, 0.5", 3: "three numbers, 0.5/0.5/0.5"}.get(
            count, f"{count} numbers, 0.5/0.5..."
        )
        raise ValueError(
            f"mean and std of {spec} are {wanted}, got {value!r}; one for each channel of the images"
        )
    return channels
