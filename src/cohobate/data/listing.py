"""Which files of a folder are images of a split, and which are not read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config.text import as_text, shown
from .headers import listed
from .pictures import EXTENSIONS, reason
from .stored import Picture

PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Split -> names of its folder, in any case."""
SYSTEM = {"thumbs.db", "desktop.ini"}
"""Files that systems put into folders; they are passed over without a word, as hidden ones are."""
EXAMPLES = 2
"""Files of a kind that a note lists by name."""
KINDS = 6
"""Kinds of files that a note lists."""


@dataclass
class Found:
    """What is in a folder.

    Attributes:
        root: the folder of the data set, which links may not leave.
        paths: images, in a fixed order.
        unread: kind -> names, relative to ``folder``, of what is not read.
        broken: links that lead nowhere, and why.
    """

    root: Path
    paths: list[Path] = field(default_factory=list)
    unread: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: list[tuple[Path, str]] = field(default_factory=list)

    def leave(self, path: Path, folder: Path, kind: str | None = None) -> None:
        """Count a file that is not read."""
        self.unread[kind or path.suffix.lower() or "without an extension"].append(
            shown(os.path.relpath(path, folder))
        )

    def note(self, name: str) -> tuple[str, ...]:
        """How many files of which kinds are not read, if any."""
        if not self.unread:
            return ()
        each = sorted(self.unread.items(), key=lambda item: (-len(item[1]), item[0]))
        parts = [f"{_counted(kind, len(names))} ({_examples(names)})" for kind, names in each[:KINDS]]
        if len(each) > KINDS:
            parts.append(f"{sum(len(names) for _, names in each[KINDS:]):,} of other kinds")
        count = sum(map(len, self.unread.values()))
        return (f"not read {name}: {', '.join(parts)}",) if count else ()


def _counted(kind: str, count: int) -> str:
    return f"{count:,} {kind}" + ("s" if count > 1 and kind.endswith(("folder", "file")) else "")


def _examples(names: list[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (" ..." if len(names) > EXAMPLES else "")


def parts_of(root: Path, found: Found, parts: Iterable[str] = PARTS) -> dict[str, Path]:
    """The folder of each of these splits that there is; what lies beside them is counted in ``found``.

    Raises:
        ValueError: two folders for one split.
    """
    folders: dict[str, Path] = {}
    for entry in entries(root, found):
        path = Path(entry.path)
        part = next((part for part in parts if entry.name.lower() in PARTS[part]), None)
        if part is None or not entry.is_dir():
            found.leave(path, root, "folder" if entry.is_dir() else None)
        elif part in folders:
            raise ValueError(
                f"{shown(root)} has both {folders[part].name} and {entry.name}, and either could be its "
                f"{part} split; rename or remove one"
            )
        else:
            folders[part] = path
    return folders


def classes_of(folder: Path, found: Found) -> list[str]:
    """Names of the class folders in the folder of a split, sorted; files beside them are counted.

    Raises:
        ValueError: a name that is not UTF-8.
    """
    names = []
    for entry in entries(folder, found):
        if not entry.is_dir():
            found.leave(Path(entry.path), folder, None if entry.is_file() else "special file")
            continue
        if as_text(entry.name) != entry.name:
            raise ValueError(
                f"the name of the class folder {shown(entry.path)} is not UTF-8, so that no table or file "
                "could show it; rename it"
            )
        names.append(entry.name)
    return sorted(names)


def below(folder: Path, part: Path, found: Found) -> None:
    """Add the images in a folder and below it; links to folders are not followed.

    Args:
        folder: to descend into.
        part: names of files that are not read are given relative to it.
        found: is added to.
    """
    for entry in entries(folder, found):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            below(path, part, found)
        elif entry.is_dir():
            found.leave(path, part, "linked folder")
        elif not entry.is_file():
            found.leave(path, part, "special file")
        elif entry.name.lower().endswith(EXTENSIONS):
            found.paths.append(path)
        else:
            found.leave(path, part)


def entries(folder: Path, found: Found) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, by name, without hidden files; broken links are noted, not given.

    Raises:
        ValueError: a link that leaves the root, or a folder that cannot be read.
    """
    if folder.is_symlink():
        _refuse_outside(folder, found.root)
    try:
        with os.scandir(folder) as scanned:
            each = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"{shown(folder)} cannot be read: {reason(error)}") from error
    for entry in each:
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
            continue
        if entry.is_symlink() and not _leads_somewhere(Path(entry.path), found):
            continue
        yield entry


def _leads_somewhere(link: Path, found: Found) -> bool:
    try:
        _refuse_outside(link, found.root)
    except (OSError, RuntimeError):  # RuntimeError: a link to itself, before Python 3.13
        target = shown(os.readlink(link))
        found.broken.append((link, f"it is a link to {target}, which is not there"))
        return False
    return True


def _refuse_outside(link: Path, root: Path) -> None:
    target = link.resolve(strict=True)
    if not target.is_relative_to(root.resolve()):
        raise ValueError(f"{shown(link)} is a link that leaves {shown(root)}: it leads to {shown(target)}")


def refuse(bad: Sequence[tuple[Picture, str]], images: int) -> None:
    """Raise a ValueError that lists files that cannot be read, if there are any."""
    if bad:
        raise ValueError(
            f"{len(bad):,} of {images:,} image files cannot be read: {listed(bad)}; mend or remove them, or "
            "leave such files out by --skip-unreadable"
        )
