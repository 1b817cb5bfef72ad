"""Networks by name: built in, of a library, of the user's own, or deployed by a run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import nn

from ..config.grammar import without
from ..config.objects import load_object
from ..config.text import shown
from ..core import Classifier, Reordered, Shape, Sum, Task, match_classes
from ..inference.cascade import Cascade
from ..models.build import build, on_backbone
from ..models.dense.network import FullSize
from ..models.registry import INITIAL, dense_parts, is_known, parse
from ..models.surgery.adapt import adapt
from ..models.surgery.probe import WrongImagesError, look
from ..models.surgery.reorder import reorder_head
from ..runs.deployed import READINGS, Deployed, read_deployed
from ..runs.layout import RunFolder
from .tasks import other_network, require_task, task_of


def make_network(spec: str, classes: int, shape: Shape, task: Task | None = None) -> nn.Module:
    """A network by name, or by a function of the user's own (``file.py:function:option=value``).

    A user's network that returns plain logits is adapted: it gets stages, and gates on its residual
    blocks (:func:`cohobate.adapt`). If the function has a parameter ``in_channels``, it is given the channels
    of the images. If its logits are a map that is smaller than the images, they are enlarged bilinearly.
    After ``dense:`` it is a backbone: a pyramid and a dense head on its stages replace its classifier.

    Args:
        spec: its name.
        classes: K.
        shape: (C, H, W) of the images.
        task: what it must predict; None: whichever it does.

    Raises:
        ValueError: an unknown name or option; the user's function returns no module; images that the
            network cannot take, other classes than the data has, or a network for the other task.
    """
    name, options = parse(spec)
    if is_known(name):
        network = build(spec, classes, shape=shape)
    elif (parts := dense_parts(name, options)) is not None:
        backbone, given = parts
        network = on_backbone(name, given, classes, shape, partial(_users_own, backbone, classes, shape))
    else:
        network = _users_own(name, classes, shape, options)
    logits = look(network, shape).output.logits
    theirs = task_of(logits, spec)
    if task is not None:
        require_task(spec, theirs, task, other_network(spec, task))
    if logits.shape[1] != classes:
        raise ValueError(f"{spec} predicts {logits.shape[1]} classes, the data has {classes}")
    return FullSize(network) if theirs == "segmentation" and logits.shape[2:] != shape[1:] else network


def _users_own(name: str, classes: int, shape: Shape, options: dict[str, Any]) -> nn.Module:
    """What the user's function makes, adapted."""
    network = _called(name, classes, shape[0], options)
    try:
        look(network, shape)
    except WrongImagesError as error:
        if shape[0] == 3:
            raise
        raise ValueError(
            f"{error}; if it is made for another number of channels than {shape[0]}, give {name} a parameter "
            "in_channels, to which the run passes this number"
        ) from error
    return adapt(network, shape=shape)


def _called(name: str, classes: int, channels: int, options: dict[str, Any]) -> nn.Module:
    make = load_object(name)
    signature = inspect.signature(make)
    if "in_channels" in signature.parameters:
        options = {"in_channels": channels, **options}
    try:
        signature.bind(classes, **options)
    except TypeError as error:
        given = "".join(f", {key}={value!r}" for key, value in options.items())
        raise ValueError(
            f"{name} cannot be called with the number of classes, ({classes}{given}): {error}; write it as "
            "def make(classes), with a parameter for each option"
        ) from error
    network = make(classes, **options)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{name} returned {type(network).__name__}, not a torch.nn.Module")
    return network


TRUST = "(from Python: cohobate.load(FILE, trust=True))"
WORD = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
"""What an option of a network may say in a file of somebody else's, beside numbers: ``avg``."""


@overload
def load(
    path: Path | str,
    classes: int | Sequence[str] | None = None,
    *,
    adaptive: Literal[False] = False,
    trust: bool = False,
) -> Classifier: ...


@overload
def load(
    path: Path | str,
    classes: int | Sequence[str] | None = None,
    *,
    adaptive: Literal[True],
    threshold: float | None = None,
    trust: bool = False,
) -> Cascade: ...


def load(
    path: Path | str,
    classes: int | Sequence[str] | None = None,
    *,
    adaptive: bool = False,
    threshold: float | None = None,
    trust: bool = False,
) -> Classifier | Cascade:
    """The network that a run deployed, ready to predict (evaluation mode): images -> logits, (B, K).

    Where it was trained on masks, the logits are of every pixel, (B, K, H, W), at the images' size.

    Its ``class_names`` are in the order of the logits, ``features(x)`` gives its whole Output, and its keys
    are those of the file. With ``adaptive`` it is a :class:`cohobate.Cascade`: each image runs through as
    many networks of the deployed sum as it needs.

    Args:
        path: a run folder (its last weights) or a ``deployed*.safetensors`` file.
        classes: refuse a network that predicts another number of classes; or the names of the classes in
            the order that the logits shall have, ``data.classes``.
        adaptive: whether images leave early, by the threshold that is stored in the file and the reading of
            the energy that is stored with it.
        threshold: of the adaptive network, an energy in [0, 1] or math.inf, instead of the stored one.
        trust: build the network of a file that lies in no run's folder even if its header names code,
            ``net.py:make``, which is then imported and called. A run's own code is trusted as the run is.

    Raises:
        RunError: the file is missing, truncated, or no deployed network.
        ValueError: the network predicts another number of classes, or classes of other names; the file names
            code, or options that might read files, and is not trusted; or, with ``adaptive``, it is no sum of
            networks or has no threshold.
    """
    if threshold is not None and not adaptive:
        raise ValueError(f"threshold {threshold} is that of a cascade: give adaptive=True, or leave it out")
    # Weights that were made in inference mode could not be trained, nor looked at, outside of it.
    with torch.inference_mode(False):
        deployed = read_deployed(path)
        if not (trust or in_a_run(deployed.path)):
            refuse_foreign_code(deployed)
        return cascade_of(deployed, classes, threshold) if adaptive else _classifier(deployed, classes)


def _classifier(deployed: Deployed, classes: int | Sequence[str] | None) -> Classifier:
    if classes is None or isinstance(classes, int):
        return Classifier(rebuilt(deployed, classes), class_names=deployed.classes).eval()
    order = match_classes(deployed.classes, classes, str(deployed.path)).order
    return Classifier(reordered(rebuilt(deployed), order, deployed.shape), class_names=classes).eval()


def cascade_of(
    deployed: Deployed, classes: int | Sequence[str] | None = None, threshold: float | None = None
) -> Cascade:
    """A deployed sum as a cascade, see :func:`load`.

    Raises:
        ValueError: other classes, no sum of networks, or no threshold.
    """
    require_sum(deployed, "load it without adaptive")
    stored = deployed.threshold
    if threshold is None and stored is None:
        raise ValueError(
            f"{deployed.path} stores no threshold for its cascade: `cohobate evaluate RUN --adaptive` (with "
            "--weights best for the best weights) chooses and stores one; or give threshold="
        )
    names = deployed.classes if classes is None or isinstance(classes, int) else classes
    order = match_classes(deployed.classes, names, str(deployed.path)).order
    networks = rebuilt(deployed, classes if isinstance(classes, int) else None).get_submodule("networks")
    in_order = [
        Classifier(reordered(network, order, deployed.shape), class_names=names)
        for network in networks.children()
    ]
    value = threshold if stored is None or threshold is not None else stored.threshold
    energy = (None if stored is None else stored.energy) or READINGS[0]
    return Cascade(in_order, value, energy=energy).eval()  # type: ignore[arg-type]


def require_sum(deployed: Deployed, remedy: str) -> None:
    """Check that a deployed network is a sum of several, of which an image may not need all.

    Args:
        deployed: the network.
        remedy: what to do otherwise, for the message.

    Raises:
        ValueError: it is a plain network, or gives every pixel a class.
    """
    if deployed.task == "segmentation":
        raise ValueError(
            f"{deployed.path} gives every pixel a class, and images leave early by what is said of the whole "
            f"image; {remedy}"
        )
    if len(deployed.members) < 2:
        raise ValueError(
            f"{deployed.path} is one network, {deployed.model}, and no sum of several, so no image can leave "
            f"early; the methods reskd, ensemble and trained_together deploy a sum; {remedy}"
        )


def rebuilt(deployed: Deployed, classes: int | None = None) -> nn.Module:
    """The network of a file that was read; it returns an Output, or logits if it has no features."""
    predicted = len(deployed.classes)
    if classes is not None and predicted != classes:
        raise ValueError(f"{deployed.path} predicts {predicted} classes, the data has {classes}")
    network = made_of(deployed.members, predicted, deployed.shape, deployed.task)
    network.load_state_dict(deployed.tensors)
    return network.eval()


def made_of(members: Sequence[str], classes: int, shape: Shape, task: Task | None = None) -> nn.Module:
    """A fresh network by name, or the sum of several (:class:`cohobate.core.Sum`).

    Raises:
        ValueError: see :func:`make_network`.
    """
    networks = [make_network(_bare(member), classes, shape, task) for member in members]
    return networks[0] if len(networks) == 1 else Sum(networks)


def _bare(member: str) -> str:
    """A network's name without what says where its first weights are from."""
    return without(member, *INITIAL)[0]


def refuse_foreign_code(deployed: Deployed) -> None:
    """Check that a file that somebody hands over names a network of ours, or of a library, and nothing else.

    Whoever wrote the file chose the name, which could be that of any function on this machine, and its
    options, with which a library might read any file.

    Args:
        deployed: the file.

    Raises:
        ValueError: it names code, or an option with the name of a file, an address or the like.
    """
    for member in deployed.members:
        name, options = parse(_bare(member))
        if not is_known(name):
            raise ValueError(
                f"{shown(deployed.path)} is of the network {shown(name)}, which is none of cohobate's: if "
                f"code of your own makes it, give its run, or export it to ONNX there {TRUST}; a file does "
                "not decide which code is run"
            )
        if odd := next((key for key, value in options.items() if not _plain(value)), None):
            raise ValueError(
                f"{shown(deployed.path)} is of the network {shown(member)}, whose option {shown(odd)} is no "
                f"number and no plain word: if you have made the file, give its run {TRUST}; a file does not "
                "decide what else is read"
            )


def _plain(value: Any) -> bool:
    """Whether the value of an option names nothing outside of the network."""
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool | int | float) or bool(WORD.fullmatch(str(value)))


def in_a_run(file: Path) -> bool:
    """Whether a file lies in the folder of a run."""
    return RunFolder(file.parent).config.is_file()


def reordered(network: nn.Module, order: Sequence[int] | None, shape: Shape) -> nn.Module:
    """The network with its logits in another order: its last layer's rows, or else behind a wrapper."""
    if order is None or reorder_head(network, order, shape):
        return network
    return Reordered(network, order).eval()
