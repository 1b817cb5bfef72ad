"""The picture files that a user names, one by one or by their folders, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..config.objects import nearest_file
from ..config.text import shown
from ..config.words import count
from .listing import Found, below
from .pictures import EXTENSIONS


class Named(NamedTuple):
    """A picture file.

    Attributes:
        name: as the user gave it, or its folder; the rest is as the folder has it.
        path: of the file.
    """

    name: str
    path: Path


class Given(NamedTuple):
    """What was named.

    Attributes:
        files: the pictures, each once.
        broken: links that lead nowhere: name and why.
        notes: how many files of a folder are not read, and how many were named twice.
    """

    files: tuple[Named, ...]
    broken: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def given(names: Iterable[str | os.PathLike[str]]) -> Given:
    """The pictures of these files and folders: what is in a folder or below it, as training lists it.

    Every file that is named is one, whatever its ending; of a folder, those with an ending of pictures. Links
    to files are followed, those to folders are not.

    Raises:
        FileNotFoundError: something is not there; the message has the nearest that is.
        ValueError: nothing is named, something is neither a file nor a folder, a folder cannot be read, or
            there is no picture in all of them.
    """
    texts = [os.fspath(name) for name in names]
    if not texts:
        raise ValueError("no images: name files or folders of them")
    paths = [Path(text).expanduser() for text in texts]
    _require(texts, paths)
    files: dict[str, Named] = {}
    broken: list[tuple[str, str]] = []
    notes: list[str] = []
    twice = 0
    for text, path in zip(texts, paths, strict=True):
        each = [Named(text, path)]
        if path.is_dir():
            # Links may lead anywhere: whoever named the folder named what is in it.
            found = Found(Path(path.absolute().anchor))
            below(path, path, found)
            each = [Named(os.path.join(text, os.path.relpath(file, path)), file) for file in found.paths]
            broken += [(os.path.join(text, os.path.relpath(link, path)), why) for link, why in found.broken]
            notes += found.note(f"in {shown(text)}")
        for one in each:
            key = os.path.abspath(one.path)
            twice += key in files
            files.setdefault(key, one)
    if twice:
        notes.append(f"{count(twice, 'image')} named more than once, predicted once")
    if not files and not broken:
        raise ValueError(
            f"no image in {shown(', '.join(texts))} or below; looked for {', '.join(EXTENSIONS)} (a file "
            "that is named itself may have any ending)"
        )
    return Given(tuple(files.values()), tuple(broken), tuple(notes))


def _require(texts: list[str], paths: list[Path]) -> None:
    """Check that all of them are there."""
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        more = f", nor {count(len(missing) - 1, 'other')}" if len(missing) > 1 else ""
        raise FileNotFoundError(
            f"{shown(texts[missing[0]])} is not there{more}{nearest_file(paths[missing[0]])}"
        )
    for text, path in zip(texts, paths, strict=True):
        if not path.is_file() and not path.is_dir():
            raise ValueError(f"{shown(text)} is neither a file nor a folder")
