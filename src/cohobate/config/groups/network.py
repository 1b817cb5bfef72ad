"""The network that is trained and deployed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from .group import Group


class Network(Group):
    """The network that is trained and deployed."""

    model: str = Field(
        default="resnet8",
        description="Network: a name (`cohobate list models`), timm:NAME, torchvision:NAME or "
        "file.py:function; options follow a colon: resnet20:shortcut=padding, "
        "timm:resnet18:pretrained, NAME:weights=FILE.",
    )
    init: Path | None = Field(
        default=None,
        description="File of weights (.safetensors or .pt) that the network begins from; by default the "
        "weights that --model comes with.",
    )
