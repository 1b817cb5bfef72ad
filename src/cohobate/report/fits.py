"""How a picture of another size becomes an image of a network, in words."""

from __future__ import annotations

from ..config.sizes import shown_size
from ..runs.exported import About

FITS = {
    "crop": "it is resized until it covers them, and what sticks out on the longer side is cut off",
    "pad": "all of it is resized to fit in, on a background",
    "squash": "it is resized to them, its proportions lost",
    "resized": "its shorter side is resized to {} pixels, and the middle of it is cut out",
}


def fitted(about: About) -> str:
    """The end of a sentence that has named the size."""
    text = FITS["resized" if about.eval_resize else about.fit].format(about.eval_resize)
    if about.averaged_from is None:
        return text
    return f"{text}, all this at {shown_size(about.averaged_from)} pixels, which then are averaged over areas"
