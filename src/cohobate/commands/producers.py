"""Who makes the files of an export."""

from __future__ import annotations

from .card import model_card
from .integers import int8
from .library_files import library_files
from .producing import Producer, networks
from .stages import cascade

PRODUCERS: tuple[Producer, ...] = (networks, int8, library_files, cascade, model_card)
"""In the order in which they are asked; each sees what was made before it, and the card describes all."""
