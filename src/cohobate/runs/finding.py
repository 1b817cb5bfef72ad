"""Finds the folders of runs, and says what a folder is that is not the folder of a run."""

from __future__ import annotations

from pathlib import Path

from ..config.words import count
from .layout import RunFolder


def find_runs(folder: Path) -> list[Path]:
    """The folder itself if it is a run folder, else every run folder below it, sorted.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
    """
    config = RunFolder(folder).config
    if config.is_file():
        return [folder]
    found = sorted(file.parent for file in folder.rglob(config.name) if file.is_file())
    if not found:
        require_run(folder)
    return found


def require_run(folder: Path) -> None:
    """Check that a folder is that of a run.

    Raises:
        FileNotFoundError: it is not; the message says what it is instead.
    """
    name = RunFolder(folder).config.name
    if RunFolder(folder).config.is_file():
        return
    if not folder.exists():
        raise FileNotFoundError(f"the folder {folder} does not exist")
    if folder.is_file():
        raise FileNotFoundError(f"{folder} is a file; name the folder of a run, which holds {name}")
    runs = sorted(file.parent for file in folder.rglob(name) if file.is_file())
    if not runs:
        raise FileNotFoundError(
            f"{folder} is not the folder of a run: it has no {name}, nor has one below it"
        )
    listed = ", ".join(map(str, runs[:3])) + (" ..." if len(runs) > 3 else "")
    raise FileNotFoundError(
        f"{folder} has no {name}: it holds {count(len(runs), 'run')}; name one of them: {listed}"
    )


def made_from_python(method: str) -> bool:
    """Whether a run recorded the class of a method that was trained by :func:`cohobate.fit`."""
    return ":" not in method and method != method.lower()
