"""The network that is trained and deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from .group import Group


class Network(Group):
    """The network that is trained and deployed."""

    model: str = Field(
        default="resnet8",
        description="Network: a name (`cohobate list models`), timm:NAME, torchvision:NAME or "
        "file.py:function; for images with masks dense: before any of them, dense:resnet20; options follow "
        "a colon: resnet20:shortcut=padding, timm:resnet18:pretrained, NAME:weights=FILE.",
    )
    init: Path | None = Field(
        default=None,
        description="File of weights (.safetensors or .pt) that the network begins from; by default the "
        "weights that --model comes with.",
    )
    match_classes: Literal["by_name", "by_position"] = Field(
        default="by_name",
        description="How the classes of weights that are given (--teacher, --init, weights=FILE) are matched "
        "with those of the data: by_name, in whatever order they stand, and other names are refused; "
        "by_position, whatever their names.",
    )
    renamed_classes: tuple[str, ...] = Field(
        default=(),
        description="Classes that have another name in the data than in the weights that are given: "
        "OLD=NEW,OLD=NEW; by default none.",
    )

    @field_validator("renamed_classes")
    @classmethod
    def _pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        renamed(value)
        return value


def renamed(pairs: tuple[str, ...]) -> dict[str, str]:
    """``OLD=NEW`` each -> old name of a class -> new name.

    Raises:
        ValueError: a pair without ``=``, or an old name that stands twice.
    """
    names: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new) or old in names:
            raise ValueError(f"renamed classes are OLD=NEW, each old name once, got {pair!r}")
        names[old] = new
    return names
