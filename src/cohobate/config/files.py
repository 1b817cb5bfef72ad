"""Configuration files. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a ``run.yaml``.

    Raises:
        ValueError: no such file, or not a YAML mapping.
    """
    if not path.is_file():
        raise ValueError(f"no configuration {path}")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not a mapping of options")
    return config
