"""The device and the arithmetic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .group import Group


class Numerics(Group):
    """The device and the arithmetic."""

    device: str = Field(
        default="auto", description="Device: cpu, cuda, cuda:1 ...; auto: a GPU if there is one."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="fp32",
        description="Precision of the computation; auto: the faster of the two in a short measurement, whose "
        "result is recorded with the run.",
    )
    layout: Literal["channels_last", "contiguous"] = Field(
        default="channels_last",
        description="Memory layout of the images and of the weights of convolutions.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Compile the whole method by torch.compile; auto: on a GPU only, where the step is "
        "replayed as a CUDA graph.",
    )
