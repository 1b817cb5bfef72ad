"""The notation for a name with options, ``name:option=value``, on the command line and in Python."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

import yaml

OPTION = re.compile(r"\s*([A-Za-z_]\w*\s*(=.*)?|=.*)?", re.DOTALL)
"""What follows a colon that separates: an option, ``weights=FILE`` or ``pretrained``. Any other colon belongs
to the value before it: ``weights=runs/a:1/x.pth``, ``C:\\x\\net.py``."""


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """``method`` or ``method:option=value,option=value`` -> name and options.

    The options begin at the first colon that ``option=`` follows; names and values may hold other colons.

    Raises:
        ValueError: a part that is not option=value.
    """
    found = re.search(r":(?=\s*[A-Za-z_]\w*\s*=)", spec)
    if found is None:
        return spec, {}
    name, options = spec[: found.start()], spec[found.end() :]
    pairs = {}
    for part in options.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(
                f"{part!r} in {spec!r} is not option=value; write name:option=value,option=value"
            )
        pairs[key.strip()] = yaml.safe_load(value)
    return name, pairs


def split(spec: str) -> list[str]:
    """A model's spec, ``name:option=value:option``, at the colons that separate (:data:`OPTION`)."""
    parts: list[str] = []
    for part in spec.split(":"):
        if parts and not OPTION.fullmatch(part):
            parts[-1] += f":{part}"
        else:
            parts.append(part)
    return parts


def without(spec: str, *options: str) -> tuple[str, list[str]]:
    """A model's spec, ``name:option=value:option``, without these options, and their values."""
    parts = [part.partition("=") for part in split(spec)]
    rest = ":".join("".join(part) for part in parts if part[0].strip() not in options)
    return rest, [value for key, _, value in parts if key.strip() in options]


def flag(option: str) -> str:
    """The flag of an option: ``batch_size`` -> ``--batch-size``."""
    return f"--{option.replace('_', '-')}"


def text(value: Any) -> str:
    """A value of an option, as it is typed on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def takes_only_several(annotation: object) -> bool:
    """Whether an option of this type takes a tuple and no single value."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return get_origin(annotation) is tuple or (
        takes_several(annotation) and all(get_origin(part) is tuple for part in parts)
    )


def takes_several(annotation: object) -> bool:
    """Whether an option of this type takes several values: a tuple, or a tuple or None."""
    return get_origin(annotation) is tuple or any(get_origin(part) is tuple for part in get_args(annotation))
