"""``cohobate inspect``: the map of a network."""

from __future__ import annotations

import tyro

from .console import show


def main(arguments: list[str]) -> None:
    """Show the map of the network MODEL: stages, sizes, branch points, gates."""

    def inspect(model: tyro.conf.Positional[str], classes: int = 100, image_size: int | None = None) -> None:
        """The map of a network: stages, sizes, where it can be branched, which blocks can be gated.

        Args:
            model: A name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function.
            classes: How many it predicts.
            image_size: Side of its images in pixels; by default 32, for a library's network its own.
        """
        from ..report.tables.terminal import map_notes, map_table
        from .networks import inspect_network

        network_map = inspect_network(model, classes, image_size)
        show(map_table(network_map))
        print("\n".join(map_notes(network_map)))

    tyro.cli(inspect, args=arguments, prog="cohobate inspect")
