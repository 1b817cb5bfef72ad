"""Who makes the files of an export."""

from __future__ import annotations

from .integers import int8
from .producing import Producer, networks

PRODUCERS: tuple[Producer, ...] = (networks, int8)
"""In the order in which they are asked; each sees what was made before it."""
