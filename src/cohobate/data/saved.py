"""A folder that ``save_to_disk`` of Hugging Face's ``datasets`` has made: that it names no file outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..config.objects import nearest_file
from ..config.text import shown

SPLITS, STATE = "dataset_dict.json", "state.json"


def require_saved(folder: Path) -> None:
    """Check that a folder is one, and that all files of which it speaks lie in it.

    Raises:
        FileNotFoundError: no such folder, or a file of it is missing.
        ValueError: it is another folder, a file of it is damaged, or it names one outside.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {shown(folder.absolute())}{nearest_file(folder)}")
    if (folder / SPLITS).is_file():
        for name in _entry(folder / SPLITS, "splits"):
            _require_state(folder, _inside(folder, name, folder / SPLITS))
    elif (folder / STATE).is_file():
        _require_state(folder, folder)
    else:
        raise ValueError(
            f"{shown(folder)} holds neither {SPLITS} nor {STATE}, so save_to_disk of datasets has not made "
            "it; a folder of images is given without hf:"
        )


def _require_state(root: Path, folder: Path) -> None:
    state = folder / STATE
    if not state.is_file():
        raise FileNotFoundError(f"{shown(state)} is not there; save the data set again by save_to_disk")
    for each in _entry(state, "_data_files"):
        file = _inside(folder, each.get("filename") if isinstance(each, dict) else None, state)
        if not file.is_file():
            raise FileNotFoundError(f"{shown(file)} is not there; save the data set again by save_to_disk")
        if not file.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{shown(file)} is a link that leaves {shown(root)}")


def _inside(folder: Path, name: Any, said: Path) -> Path:
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{shown(said)} names {name!r}, and names of files in its folder are expected")
    return folder / name


def _entry(file: Path, key: str) -> list[Any]:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(file)} is damaged: {error}") from error
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise ValueError(f"{shown(file)} is damaged: it has no list {key!r}")
    return value
