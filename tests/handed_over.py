"""Networks with random weights in a file, as a run deploys them, and pictures to predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cohobate.core import Sum
from cohobate.engine.checkpoint import State, write_state
from cohobate.recipes.networks import make_network
from cohobate.runs.exported import About

NAMES = ("ant", "bee, red", 'the "cat"')


def about(**changed: Any) -> About:
    """What a file says of itself."""
    facts = {"classes": NAMES, "shape": (3, 16, 16), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    return About.model_validate({**facts, "values": "0-255", "model": "resnet8", **changed})


def hand_over(path: Path | str, members: Sequence[str] = ("resnet8",), **facts: Any) -> Path:
    """A file of weights; of several networks, their sum."""
    said = about(**{key: value for key, value in facts.items() if key in About.model_fields})
    torch.manual_seed(3)
    networks = [make_network(member, len(said.classes), said.shape) for member in members]
    network = networks[0] if len(networks) == 1 else Sum(networks)
    record = {**said.model_dump(mode="json"), "members": list(members), **facts}
    write_state(Path(path), State(network.state_dict(), record))
    return Path(path)


def save_picture(
    path: Path | str, seed: int = 0, size: tuple[int, int] = (20, 14), mode: str = "RGB"
) -> Path:
    """A file of noise, ``size`` (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).convert(mode).save(path)
    return Path(path)
