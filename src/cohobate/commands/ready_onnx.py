"""An exported ONNX file, ready to predict; what it says of itself is held against what it takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..config.text import first_line, shown
from ..config.words import count
from ..engine.errors import RunError
from ..inference.deployable import Normalisation
from ..inference.onnx_network import OnnxNetwork
from ..runs.exported import About
from .ready import Answers, ReadyNetwork

REQUIRED = tuple(name for name, field in About.model_fields.items() if field.is_required())
"""What an ONNX file has to say of itself."""


def ready_of_onnx(path: Path, device: str | None, threads: int | None, adaptive: bool) -> ReadyNetwork:
    """An ONNX file that cohobate exported, computed by onnxruntime.

    Raises:
        ValueError: a device or an option that does not go with it, or a file that is cut or no ONNX file.
        ImportError: onnxruntime is missing; the message names the extra.
        RunError: it is of somebody else, or does not take and give what it says of itself.
    """
    if device not in (None, "auto", "cpu"):
        raise ValueError(
            f"{shown(path)} is computed by onnxruntime on the CPU, not on {device}; leave --device out"
        )
    if adaptive:
        raise ValueError(
            f"{shown(path)} is one network, which every image runs through; adaptive is for a run, or its "
            "deployed.safetensors"
        )
    network = OnnxNetwork(path, shown(path), threads)
    if missing := [name for name in REQUIRED if name not in network.metadata]:
        raise RunError(
            f"{shown(path)} was not exported by cohobate: its metadata does not say {', '.join(missing)}; "
            "run it by onnxruntime, which needs nothing of this, or export it by `cohobate export`"
        )
    about = About.from_metadata(network.metadata, shown(path))
    logits = on_bytes(network, about)

    def answers(pixels: Tensor) -> Answers:
        return Answers(logits(pixels))

    _check(network, about, answers)
    return ReadyNetwork(path, "onnx", about, answers, torch.device("cpu"), "fp32")


def on_bytes(network: OnnxNetwork, about: About) -> Callable[[Tensor], Tensor]:
    """Images as bytes, uint8 (B, C, H, W) -> the logits of a network that takes other values, perhaps."""
    normalisation = Normalisation(about.mean, about.std)

    def logits(pixels: Tensor) -> Tensor:
        return network(normalisation.of_bytes(pixels.cpu(), about.values))

    return logits


def _check(network: OnnxNetwork, about: About, answers: Callable[[Tensor], Answers]) -> None:
    """Raise a RunError unless an ONNX file takes and gives what it says of itself."""
    takes = network.shape
    if isinstance(takes[0], int):
        raise RunError(
            f"{network.name} takes batches of {count(takes[0], 'image')} only; export it by cohobate, with "
            "any number"
        )
    if any(isinstance(own, int) and own != said for own, said in zip(takes[1:], about.shape, strict=True)):
        raise RunError(
            f"{network.name} says that its images are {_by(about.shape)} and takes {_by(takes[1:])}: its "
            "metadata is of another network; export it again"
        )
    try:
        given = tuple(answers(torch.zeros(1, *about.shape, dtype=torch.uint8)).logits.shape[1:])
    except Exception as error:  # onnxruntime has a class of error for each thing that may be wrong
        raise RunError(
            f"{network.name} does not take images of {_by(about.shape)} with values {about.values}, as it "
            f"says: {first_line(error)}"
        ) from error
    if given[0] != len(about.classes):
        raise RunError(
            f"{network.name} names {count(len(about.classes), 'class')} and predicts {given[0]}: its "
            "metadata is of another network; export it again"
        )
    pixels = () if about.task == "classification" else about.shape[1:]
    if given[1:] != pixels:
        raise RunError(
            f"{network.name} says that it is for {about.task} and gives logits of {_by(given)} for an "
            f"image of {_by(about.shape)}: its metadata is of another network; export it again"
        )


def _by(shape: tuple[object, ...]) -> str:
    return " x ".join(map(str, shape))
