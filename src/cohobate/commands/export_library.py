"""Weights of a network of timm or torchvision, for the bare library: tried in it before they are written.

The file ``model.safetensors`` has the library's own keys. Beside that of a network of timm lies
``config.json``, with which timm builds the network by itself, and by which the Hugging Face hub knows it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

from ..config.grammar import without
from ..data.views import margin_of
from ..engine.errors import RunError
from ..inference.agreement import agreement, all_of
from ..inference.deployable import Normalisation
from ..models.hub import hub_config
from ..models.libraries import library_network
from ..models.registry import INITIAL, LIBRARIES, parse
from ..runs.exported import About
from .export_files import Export, Made
from .export_source import Source


def library_files(export: Export) -> dict[str, Made]:
    """The file of weights, tried in the bare library; of timm config.json too. Nothing for other networks."""
    about, weights = export.source.about, export.folder.network("safetensors").name
    library = "" if about.model is None or about.members else about.model.partition(":")[0]
    if library not in LIBRARIES or weights not in export.made:
        return {}
    if library == "timm":
        refuse_foreign(export.folder.config)
    made = export.made[weights]
    network, name, options = _bare(about)
    loads = _tried(network, made.data, export.source, export.seen.images)
    files = {weights: made._replace(said=f"{made.said}; loads into {library}'s own {name}, {loads}")}
    if library == "timm":
        config = hub_config(network, name, options, about.classes, about.shape, _images(about))
        for note in notes(about):
            export.say(f"note: {note}")
        files[export.folder.config.name] = Made(
            (json.dumps(config, indent=2, allow_nan=False) + "\n").encode(),
            "of timm and the Hugging Face hub: timm.create_model('local-dir:FOLDER', pretrained=True)",
        )
    return files


def refuse_foreign(config: Path) -> None:
    """Raise a RunError if there is a config.json that is none of timm: it would be overwritten."""
    try:
        there = json.loads(config.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        there = None
    if not isinstance(there, dict) or not {"architecture", "pretrained_cfg"} <= there.keys():
        raise RunError(
            f"{config} is no config.json of timm, and one would take its place: move it, or name another "
            "folder with --out; nothing was written"
        )


def _bare(about: About) -> tuple[Any, str, dict[str, Any]]:
    """The network as the library makes it, its name there, and the options with which it is made."""
    known, options = parse(without(str(about.model), *INITIAL)[0])
    library, _, name = known.partition(":")
    network = library_network(library, name, len(about.classes), about.shape, options)
    return network.eval(), name, options


def _tried(network: Any, data: bytes, source: Source, images: Tensor) -> str:
    """Load the weights and compare the logits; in words, how equal they are."""
    about = source.about
    try:
        network.load_state_dict(load(data))
    except RuntimeError as error:
        raise RunError(
            f"the weights of {source.of.run.folder} do not fit the network that {about.model} is in its "
            f"library ({' '.join(str(error).split())[:200]}); nothing was written"
        ) from error
    shown = Normalisation(about.mean, about.std).of_bytes(images, "normalised")
    found = agreement(all_of(source.network, shown), all_of(network, shown))
    if not found.same:
        raise RunError(
            f"with the weights of {source.of.run.folder} the network that {about.model} is in its library "
            f"predicts something else: {found}; nothing was written"
        )
    return "logits equal bit by bit" if found.difference == 0 else str(found)


def _images(about: About) -> dict[str, Any]:
    """How timm shows a picture as it is shown here, as far as it can."""
    kept = {"mean": list(about.mean), "std": list(about.std), "interpolation": "bilinear"}
    if about.fit == "crop":
        return {**kept, "crop_pct": crop_share(about.shape[1:], about.eval_resize), "crop_mode": "center"}
    return {**kept, "crop_pct": 1.0, "crop_mode": "squash" if about.fit == "squash" else "border"}


def crop_share(size: Sequence[int], eval_resize: int | None = None) -> float:
    """timm's crop_pct: it resizes a picture to cover ``floor(side / crop_pct)``.

    Args:
        size: (height, width) of the images.
        eval_resize: as the run has it (:func:`cohobate.data.views.margin_of`).
    """
    side, margin = max(size), margin_of(size, eval_resize)
    covered = round(side * margin)
    shares = (round(1 / margin, 4), round(side / covered, 4), side / (covered + 0.5))
    return next(share for share in shares if math.floor(side / share) == covered)


def notes(about: About) -> list[str]:
    """In what timm's own transform of pictures differs."""
    found = []
    if about.fit == "pad":
        found.append(
            f"timm pads a picture with the mean colour, the run with {about.background}; its transform is "
            "otherwise that of the run"
        )
    if about.shape[0] not in (1, 3):
        found.append(f"timm reads no pictures of {about.shape[0]} channels; give it arrays")
    return found
