"""``cohobate inspect``: the map of a network."""

from __future__ import annotations

from typing import Annotated

import tyro
from pydantic import Field

from ..config.groups import Group
from ..config.sizes import ImageSize
from .console import show
from .parsing import parsed_alone

ABOUT = "Show the map of a network: stages, sizes, where it can be branched, which blocks can be gated."


class Command(Group):
    """The network, and the images that it is built for."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = Field(
        description="Network: a name (`cohobate list models`), timm:NAME, torchvision:NAME or "
        "file.py:function; for a class for every pixel dense: before any of them."
    )
    classes: int = Field(100, ge=1, description="Number of classes that the network predicts.")
    image_size: ImageSize = Field(
        None,
        description="Size in pixels of the images that the network sees: a side, or height,width; by default "
        "32, or what timm or torchvision made it for. Also HEIGHTxWIDTH, as tables have it.",
    )
    channels: int = Field(3, ge=1, description="Channels of the images; 1: grey.")


def main(arguments: list[str]) -> None:
    """Show the map of the network MODEL: stages, sizes, branch points, gates."""
    command = parsed_alone("cohobate inspect", arguments, Command, ABOUT)
    from ..report.tables.terminal import map_notes, map_table
    from .networks import inspect_network

    network_map = inspect_network(command.model, command.classes, command.image_size, command.channels)
    show(map_table(network_map))
    print("\n".join(map_notes(network_map)))
