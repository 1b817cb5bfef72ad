"""A network that somebody hands over, opened as one kind of thing: a run, a file of weights, an ONNX file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..config.one_of import check_word
from ..config.text import shown
from ..core import Classifier
from ..data.pictures import EXTENSIONS
from ..engine.distributed import pick_device
from ..engine.errors import RunError
from ..recipes.networks import cascade_of, rebuilt, refuse_foreign_code
from ..runs.deployed import Deployed, read_deployed
from ..runs.exported import About
from .handed import EXPECTED, require_network
from .ready import Answers as Answers
from .ready import Kind
from .ready import ReadyNetwork as ReadyNetwork
from .ready_onnx import ready_of_onnx
from .ready_torch import in_torch
from .subject import Opened, Weights, opened


def ready_network(
    path: Path,
    *,
    weights: Weights = "last",
    device: str | None = None,
    threads: int | None = None,
    adaptive: bool = False,
) -> ReadyNetwork:
    """Open a network that somebody hands over. No code that a file holds, or names, is run.

    A run computes on its device and in its precision, as ``cohobate evaluate`` measures it.

    Args:
        path: the folder of a finished run, a ``.safetensors`` file with a deployed or exported network, or an
            ``.onnx`` file that was exported by cohobate.
        weights: of a run, those of the last epoch, or of the best one on the validation split.
        device: that computes; by default that of the run, and of a file a GPU if there is one. An ONNX file
            computes on the CPU.
        threads: of onnxruntime; by default as many as torch has.
        adaptive: let images leave a deployed sum early, by its stored threshold.

    Raises:
        FileNotFoundError: nothing is there, or a folder that is not that of a run.
        ValueError: another kind of file, a network that is no sum with ``adaptive``, no such device, or what
            does not go with this kind of file.
        ImportError: onnxruntime is missing; the message names the extra.
        RunError: the run has not finished, or was made from Python; the file is cut or foreign, or does not
            predict what it says.
    """
    check_word("weights", weights, Weights)
    require_network(path)
    if path.is_dir():
        return _of_run(path, weights, device, adaptive)
    if weights != "last":
        raise ValueError(f"--weights {weights} is for the folder of a run; {shown(path)} holds one network")
    if path.suffix == ".safetensors":
        return _of_weights(path, device, adaptive)
    if path.suffix == ".onnx":
        return ready_of_onnx(path, device, threads, adaptive)
    raise ValueError(_refusal(path))


# ---------------------------------------------------------------- a run, and a file of weights


def _of_run(path: Path, weights: Weights, device: str | None, adaptive: bool) -> ReadyNetwork:
    of = opened(path, weights)
    if weights == "best" and of.run.outcome["best"] is None:
        raise RunError(f"{path} has no best weights, since it has no validation split; give --weights last")
    config = of.config
    about = _about(of.deployed).model_copy(
        update={
            "fit": config.fit,
            "background": config.background,
            "eval_resize": config.eval_resize,
            "method": of.run.method,
            "label": of.run.name,
            "weights": weights,
            "precision": config.precision,
        }
    )
    try:
        place = pick_device(device or config.device)
    except ValueError as error:
        if device is not None:
            raise
        raise ValueError(f"{shown(path)} was trained on {config.device}: {error}; give --device") from error
    return _in_torch(path, "run", of.deployed, about, place, adaptive, of)


def _of_weights(path: Path, device: str | None, adaptive: bool) -> ReadyNetwork:
    deployed = read_deployed(path)
    about = _about(deployed)
    refuse_foreign_code(deployed)
    return _in_torch(path, "safetensors", deployed, about, pick_device(device or "auto"), adaptive)


def _about(deployed: Deployed) -> About:
    """What a file of weights says of itself."""
    record = {"values": "0-255", **deployed.facts}
    if "image_size" in record and "shape" not in record:
        record["shape"] = deployed.shape
    return About.of(record, shown(deployed.path))


def _in_torch(
    path: Path,
    form: Kind,
    deployed: Deployed,
    about: About,
    place: torch.device,
    adaptive: bool,
    run: Opened | None = None,
) -> ReadyNetwork:
    if adaptive and about.task == "segmentation":
        raise ValueError(
            f"{shown(path)} gives every pixel a class, and adaptive lets images leave early by what is said "
            "of the whole image; leave it out"
        )
    try:
        network: nn.Module = (
            cascade_of(deployed) if adaptive else Classifier(rebuilt(deployed), class_names=about.classes)
        )
    except RuntimeError as error:  # of load_state_dict, in many lines
        raise RunError(
            f"{shown(deployed.path)} does not hold the weights of the network that it names, "
            f"{' + '.join(deployed.members)}; restore the file, or export it again"
        ) from error
    network = network.eval().to(place)
    answers = in_torch(network, about, place, about.precision)
    return ReadyNetwork(path, form, about, answers, place, about.precision, network, run)


# ---------------------------------------------------------------- what is none of these


def _refusal(path: Path) -> str:
    """Why a file of this kind is not opened."""
    kind, name = path.suffix.lower(), shown(path)
    if kind == ".pt2":
        return (
            f"{name} is not opened, since torch.export.load can run code that a file holds: export the run "
            "with --format onnx or safetensors, or, from Python and if you trust the file, call "
            "torch.export.load(FILE).module()(images)"
        )
    if kind in (".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        return (
            f"{name} holds weights without the network, its classes or its normalisation; give {EXPECTED} "
            "(from Python: cohobate.load_weights(network, FILE), then cohobate.predict(network, ...))"
        )
    if kind in EXTENSIONS:
        return f"{name} is an image, and the network comes first: give {EXPECTED}, then the images"
    return f"{name} is no network: give {EXPECTED}"
