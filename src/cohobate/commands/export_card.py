"""The model card of an export: gathers what the run, the runs beside it and the files of the folder say.

Beside it lies ``export.json``, by which the card of a later export knows what was found of these files.
"""

from __future__ import annotations

import inspect
import math
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import get_args

from ..config.forms import Form
from ..config.grammar import flag
from ..config.text import first_line
from ..data.views import margin_of
from ..inference.cascade_runner import FORMAT
from ..recipes.recipe import find
from ..report.card import File, Subject, card, is_untouched
from ..report.facts import Explained
from ..runs.exported import About, ExportFolder
from ..runs.finding import made_from_python
from ..runs.siblings import baselines, siblings
from .export_files import Export, Made
from .export_metadata import about_at, about_in
from .export_options import Asked
from .export_record import Entry, record_of, recorded

BEFORE = "by an export before this one, of which nothing is known"
LONGEST = 2**24
"""Bytes of a file that is no network that are read, at most."""


def model_card(export: Export) -> dict[str, Made]:
    """The card of all files that will lie in the folder."""
    about, folder = export.source.about, export.folder
    run = export.source.of.run.reporting(about.readout)
    before = {name: entry for name, entry in recorded(folder).items() if name not in export.made}
    command = command_of(export.asked)
    subject = Subject(
        run=run,
        about=about,
        files=[*_made_now(export), *_from_before(folder, set(export.made), before)],
        seeds=siblings(run),
        baseline=baselines(run),
        method=explained(run.method),
        commands=list(dict.fromkeys([*(entry.command for entry in before.values()), command])),
        larger=margin_of(about.shape[1:], about.eval_resize),
    )
    name = next(path for path in folder.cards if not os.path.lexists(path) or _is_ours(path)).name
    if name != folder.card.name:
        export.say(
            f"note: {folder.card} is not a card as an export writes it, or was changed since, so it stays as "
            f"it is, and the card of this export is {name}"
        )
    record = record_of(export.made, command, before)
    return {folder.record.name: record, name: Made(card(subject).encode(), "model card")}


def _is_ours(path: Path) -> bool:
    try:
        return is_untouched(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False


# ---------------------------------------------------------------- files


def _made_now(export: Export) -> Iterator[File]:
    networks = {export.folder.network(form).name for form in get_args(Form)}
    for name, made in export.made.items():
        about = export.source.about if name in networks else _about(name, partial(about_in, name, made.data))
        yield File(name, len(made.data), about if isinstance(about, About) else None, made.said)


def _from_before(folder: ExportFolder, made: Collection[str], before: Mapping[str, Entry]) -> Iterator[File]:
    """What an export before this one left in the folder; files of other names are somebody's own."""
    said = {name: entry.said for name, entry in before.items()}
    for path in folder.networks:
        if path.name not in made:
            about = _about(path.name, partial(about_at, path))
            known = (about, said.get(path.name, BEFORE)) if isinstance(about, About) else (None, about)
            yield File(path.name, path.stat().st_size, *known)
    for path in _others(folder):
        if path.name not in made and path.is_file():
            yield File(path.name, path.stat().st_size, None, said.get(path.name, BEFORE))


def _others(folder: ExportFolder) -> list[Path]:
    """Files of an export that are no networks, told from those of the same names that are somebody's own."""
    found = [folder.config] if b'"pretrained_cfg"' in _content(folder.config) else []
    is_cascade = f'"format": "{FORMAT}"'.encode() in _content(folder.cascade)
    return [*found, folder.cascade, folder.runner] if is_cascade else found


def _content(path: Path) -> bytes:
    """The beginning of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST)
    except OSError:
        return b""


def _about(name: str, read: Callable[[], About]) -> About | str:
    """What a file says of itself, or why that is not known: an export does not fail for a file of before."""
    try:
        return read()
    except Exception as error:
        return f"nothing is known of it: {first_line(error)}"


# ---------------------------------------------------------------- words


def explained(method: str) -> Explained:
    """A method in words; of a user's own nothing is known that would not run the user's code."""
    if ":" in method or made_from_python(method):
        return Explained("", {}, {})
    declaration = find(method).declaration
    options = declaration.options.items()
    return Explained(
        " ".join(declaration.doc.partition("\n\n")[0].split()),
        {name: each.default for name, each in options if each.default is not inspect.Parameter.empty},
        {name: each.help for name, each in options},
    )


def command_of(asked: Asked) -> tuple[str, str]:
    """What would export the same again, and its language: a line of a shell, or a call from Python."""
    options = asked.command.model_dump(exclude={"run", "format"}, exclude_defaults=True)
    run, forms = asked.command.run, asked.command.format
    if asked.network is not None or asked.dataset is not None:
        objects = {"network": asked.network, "data": asked.dataset}
        words = [repr(str(run)), repr(forms)]
        words += [f"{name}={name}" for name, value in objects.items() if value is not None]
        words += [f"{name}={_plain(value)}" for name, value in options.items()]
        return f"cohobate.export({', '.join(words)})", "python"
    flags = ["cohobate", "export", str(run), "--format", *forms]
    for name, value in options.items():
        flags += [flag(name)] if value is True else [flag(name), str(value)]
    return shlex.join(flags), "sh"


def _plain(value: object) -> str:
    if value == math.inf:
        return "math.inf"
    return repr(str(value) if isinstance(value, Path) else value)
