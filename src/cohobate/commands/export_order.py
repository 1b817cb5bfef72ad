"""Who makes the files of an export."""

from __future__ import annotations

from .export_card import model_card
from .export_cascade import cascade
from .export_files import Step, networks
from .export_int8 import int8
from .export_library import library_files

STEPS: tuple[Step, ...] = (networks, int8, library_files, cascade, model_card)
"""In the order in which they are asked; each sees what was made before it, and the card describes all."""
