"""``cohobate inspect``: the map of a network."""

from __future__ import annotations

import tyro

from .console import show


def main(arguments: list[str]) -> None:
    """Show the map of the network MODEL: stages, sizes, branch points, gates."""

    def inspect(
        model: tyro.conf.Positional[str],
        classes: int = 100,
        image_size: int | None = None,
        channels: int = 3,
    ) -> None:
        """Show the map of a network: stages, sizes, where it can be branched, which blocks can be gated.

        Args:
            model: Network: a name (`cohobate list models`), timm:NAME, torchvision:NAME or file.py:function.
            classes: Number of classes that the network predicts.
            image_size: Side of the images in pixels; by default 32, or what timm or torchvision made it for.
            channels: Channels of the images; 1: grey.
        """
        from ..report.tables.terminal import map_notes, map_table
        from .networks import inspect_network

        network_map = inspect_network(model, classes, image_size, channels)
        show(map_table(network_map))
        print("\n".join(map_notes(network_map)))

    tyro.cli(inspect, args=arguments, prog="cohobate inspect")
