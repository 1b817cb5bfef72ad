"""Names of folders: different runs have different ones, and they can be read and typed.

Blanks, commas, colons and plus signs become hyphens where the text can still be told from the name. Any other
text keeps its readable form and is followed by a digest of the whole text, after a tilde.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ..config.sizes import Size, shown_size, size_of

LONGEST = 180
"""Characters of a name; file systems allow 255."""

WORD = r"(?!(?:timm|torchvision)\b)[A-Za-z_](?:[A-Za-z0-9_.]*[A-Za-z0-9_])?"
NUMBER = r"-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"
ITEM = rf"(?:{NUMBER}|(?:(?:timm|torchvision):)?{WORD})(?![^, ])"
OPTION = rf"[A-Za-z0-9_]+=(?:{ITEM}(?:,{ITEM})*)?"
TERMS = r"[a-z0-9_]+(?:\+[a-z0-9_]+)*"
CLASS = r"[\w-]+\.py:\w+|[a-z0-9_]+(?:\.[a-z0-9_]+)*:[A-Z]\w*"
LABEL = re.compile(rf"(?:{TERMS}|{CLASS}|{OPTION})(?: {OPTION})*", re.ASCII)

DATA = re.compile(r"(?!.*(?:(?:^|-)(?:timm|torchvision)|\.py)$)\w(?:[\w.=-]*[\w=])?", re.ASCII)
MODEL = re.compile(r"[\w.]*\w(?::[\w.=]*[\w=])*", re.ASCII)


def plain(text: str) -> str:
    """A file name of the text, which other texts may have, too."""
    return re.sub(r"(?<![0-9]e)\+|[^A-Za-z0-9_.=+-]+", "-", text).strip("-.")


def label_name(label: str) -> str:
    """The folder of a method and its changed options, or of an option and its value.

    ``self_guidance weight=0.5`` -> ``self_guidance-weight=0.5``.
    """
    return _name(label, label, ordinary=LABEL.fullmatch(label) is not None)


def data_name(data: str, image_size: int | Size | None) -> str:
    """The images of a run in the name of a folder, and the size asked for: ``cifar10-16x16``."""
    name = Path(data).name
    if image_size is None:
        return name
    height, width = size_of(image_size)
    return f"{name}-{height}x{width}"


def data_words(data: str, image_size: int | Size | None) -> str:
    """The images of a run in tables and on pages, the same way: ``cifar10 at 16 x 16``."""
    return data if image_size is None else f"{data} at {shown_size(image_size)}"


def place_name(data: str, model: str) -> str:
    """The folder of runs on the same data with the same model: ``digits-resnet8``."""
    ordinary = DATA.fullmatch(data) is not None and MODEL.fullmatch(model) is not None
    # The digest keeps the two apart: the data a-b with the model c, and a with b-c.
    return _name(f"{data}-{model}", f"{data}\n{model}", ordinary=ordinary)


def joined_name(parts: Sequence[str]) -> str:
    """The folder of runs with a set-up, and what differs from it: ``slkd-resnet56-resnet8``."""
    return _name("-".join(parts), "\n".join(parts), ordinary=all(plain(part) == part for part in parts))


def _name(text: str, whole: str, *, ordinary: bool) -> str:
    name = plain(text)
    if ordinary and len(name) <= LONGEST:
        return name
    digest = hashlib.blake2b(whole.encode("utf-8", "surrogateescape"), digest_size=4)
    return f"{name[:LONGEST]}~{digest.hexdigest()}"
