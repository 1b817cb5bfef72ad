"""Classes by their ids in WordNet (n01440764), as ImageNet and its parts have them, and names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...config.text import shown

ID = re.compile(r"n\d{8}")


def ids_in(folder: Path) -> list[str]:
    """Names of the folders that are ids, sorted; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if ID.fullmatch(entry.name) and entry.is_dir())


def readable(ids: Sequence[str], lines: Iterable[str]) -> tuple[str, ...]:
    """The first word of each class; the id with it where two classes have the same, alone where it has none.

    Args:
        ids: of the classes.
        lines: id, a blank or a tab, and words with commas between them.
    """
    words = {}
    for line in lines:
        each, _, rest = line.strip().partition("\t") if "\t" in line else line.strip().partition(" ")
        words[each] = shown(rest.split(",")[0].strip())
    often = Counter(words.get(each) for each in ids)
    return tuple(_name(each, words.get(each), often) for each in ids)


def _name(each: str, word: str | None, often: Counter[str | None]) -> str:
    if not word:
        return each
    return f"{word} ({each})" if often[word] > 1 else word
