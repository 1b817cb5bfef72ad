"""Options that training on masks, a label for every pixel, cannot have."""

from __future__ import annotations

from ..config.grammar import text
from ..config.groups import Settings

OF_WHOLE_IMAGES = ("label_smoothing", "mixing", "class_weights")
"""Options that make one probability for each class of an image out of its label."""


def refuse_with_masks(settings: Settings) -> None:
    """Raise a ValueError if one of these options is not at its default."""
    for name in OF_WHOLE_IMAGES:
        if (value := getattr(settings, name)) != type(settings).model_fields[name].default:
            raise ValueError(
                f"{name} {text(value)} changes the one label of an image, and these have masks, a label for "
                "every pixel; leave it out"
            )
