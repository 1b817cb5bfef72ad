"""Teachers: loaded, or trained once and stored; averaged; their input renormalised where needed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from ..config.grammar import without
from ..config.words import count
from ..core import Frozen, Mean
from ..models.registry import is_known, parse
from ..models.surgery.normalised import Renormalised, pretrained_for
from ..models.surgery.probe import WrongImagesError, look
from ..runs.deployed import Deployed, facts_of, read_deployed
from ..runs.layout import weights_file
from ..runs.reading import require_finished
from .networks import in_a_run, made_of, rebuilt, refuse_foreign_code, reordered
from .tasks import require_task

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
    if len(networks) == 1:
        return Frozen(networks[0], copy=False)
    weights, of = job.training.teacher_weights, job.training.teacher_mean
    given = f", weighted {' : '.join(f'{w:g}' for w in weights)}" if weights else ""
    job.say(f"the {of} of {len(specs)} teachers are averaged{given}; features are those of {specs[0]}")
    return Frozen(Mean(networks, weights=weights or None, of=of), copy=False)


def refuse_foreign(specs: Iterable[str]) -> None:
    """Check that no teacher is a file of somebody else's that names code of its own.

    Raises:
        ValueError: see :func:`cohobate.recipes.networks.refuse_foreign_code`.
        RunError: a file cannot be read.
    """
    for spec in specs:
        deployed = _deployed(without(spec, *VIEW)[0])
        if deployed is not None and not in_a_run(deployed.path):
            refuse_foreign_code(deployed)


def _one(spec: str, job: Job) -> nn.Module:
    """A trained network, shown the images as it knows them and with its classes in the data's order."""
    bare, view = _view(spec, job)
    try:
        return _trained(bare, view, spec, job)
    except WrongImagesError as error:
        raise ValueError(
            f"the teacher {spec}: {error}; if it was made for images of another size, give it: "
            f"{bare}:size=SIDE (they are resized for it)"
        ) from error


def _trained(bare: str, view: View, spec: str, job: Job) -> nn.Module:
    if (deployed := _deployed(bare)) is not None:
        remedy = "a teacher predicts what its student does"
        require_task(f"the teacher {bare}", deployed.task, job.dataset.task, remedy)
        network = rebuilt(deployed, job.classes)
        order = job.order(deployed.classes, f"the teacher {bare}")
        own = View(deployed.statistics, deployed.shape[1:])
        return _shown(reordered(network, order, deployed.shape), view.over(own), spec, job)
    _, weights = without(bare, "weights")
    facts = facts_of(weights_file(weights[-1])) if weights else {}
    own = View((facts["mean"], facts["std"]), tuple(facts["shape"][1:])) if "shape" in facts else View()
    if without(bare, "weights", "pretrained")[0] != bare:
        view = view.over(own)
        network = job.build(bare, None if view.size is None else (job.shape[0], *view.size))
        theirs = pretrained_for(network, job.classes) if parse(bare)[1].get("pretrained") else None
        if theirs is not None and not weights:
            job.order(None, f"the teacher {bare}")
        if theirs is not None or weights:
            return _shown(network, view.over(View(theirs)), spec, job)
    if view != View():
        raise ValueError(
            f"mean, std and size are of a teacher that has its weights; {bare} learns from our images"
        )
    return job.trained(bare)


def untrained(job: Job, count: int) -> list[nn.Module]:
    """Fresh networks of the teacher's architecture.

    Raises:
        ValueError: there are several teachers, or a teacher that cannot be built by name.
    """
    if len(job.training.teacher) > 1:
        listed = ", ".join(job.training.teacher)
        raise ValueError(f"this method copies the teacher's architecture and takes one, got {listed}")
    spec, _ = without(job.training.teacher[0], *VIEW)
    deployed = _deployed(spec)
    members = [spec] if deployed is None else deployed.members
    return [made_of(members, job.classes, job.shape, job.dataset.task) for _ in range(count)]


# ---------------------------------------------------------------- its images

VIEW = ("mean", "std", "size")
"""Options in the spec of a teacher that say which images it was trained on."""


class View(NamedTuple):
    """The images that a teacher was trained on; None: those of the run.

    Attributes:
        statistics: mean and standard deviation of each channel.
        size: (height, width) in pixels.
    """

    statistics: Any = None
    size: tuple[int, int] | None = None

    def over(self, other: View) -> View:
        """This, and what it leaves open as the other has it."""
        return View(self.statistics or other.statistics, self.size or other.size)


def _view(spec: str, job: Job) -> tuple[str, View]:
    """A teacher's spec without the options about its images, and these."""
    rest, mean = without(spec, "mean")
    rest, std = without(rest, "std")
    rest, size = without(rest, "size")
    if len(mean) != len(std):
        raise ValueError(f"mean and std belong together, got one of them in {spec}")
    statistics = tuple(_channels(value, spec, job) for value in (mean[0], std[0])) if mean else None
    return rest, View(statistics, _size(size[0], spec) if size else None)


def _deployed(spec: str) -> Deployed | None:
    """The deployed network, if the spec is its file or a run's folder.

    Raises:
        ValueError: it looks like a folder, but there is none.
    """
    is_file = spec.endswith(".safetensors") and not without(spec, "weights")[1]
    if is_file or Path(spec).is_dir():
        if not weights_file(spec).exists() and not is_file:
            require_finished(Path(spec))
        return read_deployed(spec)
    name, _ = parse(spec)
    if is_known(name) and ":" not in name and ("/" in name or "\\" in name):
        raise ValueError(
            f"there is no run's folder {name} (looked in {Path.cwd()}); a teacher is the folder of a "
            "finished run, its deployed.safetensors, MODEL:weights=FILE, or the name of a model"
        )
    return None


def _shown(network: nn.Module, view: View, spec: str, job: Job) -> nn.Module:
    ours = job.dataset.mean, job.dataset.std
    theirs = None if view.statistics is None else (tuple(view.statistics[0]), tuple(view.statistics[1]))
    channels = job.shape[0] if theirs is None else len(theirs[0])
    if channels != job.shape[0] != 1:
        raise ValueError(
            f"the teacher {spec} sees images of {count(channels, 'channel')}, those of {job.dataset.name} "
            f"have {job.shape[0]}; only grey images can be shown to a teacher of more channels: train one on "
            f"such images, or give --channels {channels}"
        )
    said = []
    if view.size not in (None, job.shape[1:]):
        said.append("resized to {} x {}".format(*view.size or ()))
    if theirs not in (None, ours):
        words = " and ".join("/".join(f"{v:.4f}" for v in values) for values in theirs or ())
        said.append(f"normalised by its own mean and deviation, {words}")
    if not said:
        return network
    job.say(f"the teacher {spec} sees its images {', '.join(said)}")
    shown = Renormalised(network, ours, None if theirs == ours else theirs, view.size)
    look(shown, job.shape)
    return shown


def _size(value: str, spec: str) -> tuple[int, int]:
    """224 or 224x160, height by width."""
    sides = value.split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise ValueError(
            f"size of {spec} is a side in pixels, 224, or height x width, 224x160; got {value!r}"
        )
    return int(sides[0]), int(sides[-1])


def _channels(value: str, spec: str, job: Job) -> tuple[float, ...]:
    """Three numbers, written 0.5/0.5/0.5 in a spec; or as many as the images have channels."""
    try:
        channels = tuple(float(v) for v in value.split("/"))
    except ValueError:
        channels = ()
    if len(channels) not in (3, job.shape[0]):
        raise ValueError(f"mean and std of {spec} are three numbers, 0.5/0.5/0.5, got {value!r}")
    return channels
