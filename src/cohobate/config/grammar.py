"""The notation for a name with options, ``name:option=value``, on the command line and in Python."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import yaml


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """``method`` or ``method:option=value,option=value`` -> name and options.

    Raises:
        ValueError: a part that is not option=value.
    """
    name, _, options = spec.rpartition(":")
    if "=" not in options:
        return spec, {}
    pairs = {}
    for part in options.split(","):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(
                f"{part!r} in {spec!r} is not option=value; write name:option=value,option=value"
            )
        pairs[key.strip()] = yaml.safe_load(value)
    return name, pairs


def without(spec: str, *options: str) -> tuple[str, list[str]]:
    """A model's spec, ``name:option=value:option``, without these options, and their values."""
    parts = [part.partition("=") for part in spec.split(":")]
    rest = ":".join("".join(part) for part in parts if part[0] not in options)
    return rest, [value for key, _, value in parts if key in options]


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
