"""The config.json that timm and the Hugging Face hub read beside the weights of a network of timm.

It has the fields of timm's own ``save_for_hf``: ``architecture`` and ``model_args``, from which timm builds
the network; ``label_names``; and ``pretrained_cfg``: the images, and which layers are the first and the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ..core import Shape
from .registry import INITIAL


def hub_config(
    network: nn.Module,
    name: str,
    options: Mapping[str, Any],
    labels: Sequence[str],
    shape: Shape,
    images: Mapping[str, Any],
) -> dict[str, Any]:
    """What config.json holds.

    Args:
        network: as timm has made it.
        name: of the network in timm, with a tag of pretrained weights or without.
        options: with which timm has made it.
        labels: names of the classes, in the order of the logits.
        shape: (C, H, W) of its images.
        images: ``mean``, ``std``, ``interpolation``, ``crop_pct`` and ``crop_mode`` of timm.
    """
    own: Mapping[str, Any] = getattr(network, "pretrained_cfg", {})
    given = {key: value for key, value in options.items() if key not in INITIAL}
    fixed = bool(own.get("fixed_input_size", False))
    # A network of a fixed size is made for that of its pretrained weights, unless told another.
    size = {"img_size": list(own["input_size"][1:])} if fixed else {}
    config: dict[str, Any] = {
        "architecture": name.partition(".")[0],
        "num_classes": len(labels),
        "num_features": getattr(network, "num_features", None),
        "global_pool": next(_pools(network), None),
        "label_names": list(labels),
        "model_args": {"num_classes": len(labels), "in_chans": shape[0], **size, **given},
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": list(shape),
            "fixed_input_size": fixed and not _takes_any_size(network),
            **images,
            "num_classes": len(labels),
            "pool_size": own.get("pool_size") if tuple(own.get("input_size", ())) == shape else None,
            # Older versions of timm take the weights of a first convolution for those of 3 channels, and draw
            # them anew where the network has another number.
            "first_conv": own.get("first_conv") if shape[0] == 3 else None,
            "classifier": own.get("classifier"),
        },
    }
    return {key: value for key, value in config.items() if value is not None}


def _takes_any_size(network: Any) -> bool:
    """Whether a transformer resizes its positions to the images, or does not look at their size."""
    strict = getattr(getattr(network, "patch_embed", None), "strict_img_size", True)
    return bool(getattr(network, "dynamic_img_size", False)) or not strict


def _pools(network: Any) -> Iterator[str]:
    """How the last feature maps are pooled: a name, where the network or its head says one."""
    head = getattr(network, "head", None)
    for part, name in ((head, "global_pool"), (head, "pool_type"), (network, "global_pool")):
        pool = getattr(part, name, None)
        pool = getattr(pool, "pool_type", pool)
        if isinstance(pool, str) and pool:
            yield pool
