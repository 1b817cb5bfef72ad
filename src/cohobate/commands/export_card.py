"""The model card of an export: gathers what the run, the runs beside it and the files of the folder say."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from ..config.forms import Form
from ..config.grammar import flag
from ..data.views import margin_of
from ..engine.errors import RunError
from ..inference.cascade_runner import FORMAT
from ..recipes.recipe import find
from ..report.card import File, Subject, card, is_untouched
from ..report.facts import Explained
from ..runs.exported import About, ExportFolder
from ..runs.finding import made_from_python
from ..runs.siblings import baselines, siblings
from .export_files import Export, Made
from .export_metadata import about_in
from .export_options import Asked

ANOTHER = "model-card.md"
"""Name of the card where the folder has a README.md that is not as it was written by an export."""
BEFORE = "when it was written, by an export before this one"
ENDINGS = (".onnx", ".pt2", ".safetensors")


def model_card(export: Export) -> dict[str, Made]:
    """The card of all files that will lie in the folder."""
    about, folder = export.source.about, export.folder
    run = export.source.of.run.reporting(about.readout)
    subject = Subject(
        run=run,
        about=about,
        files=[*_made_now(export), *_from_before(folder.path, set(export.made))],
        seeds=siblings(run),
        baseline=baselines(run),
        method=explained(run.method),
        command=command_of(export.asked),
        larger=margin_of(about.shape[1:]),
    )
    name = folder.card.name
    if folder.card.exists() and not _is_ours(folder.card):
        name = ANOTHER
        export.say(
            f"note: {folder.card} is not a card as an export writes it, or was changed since, so it stays as "
            f"it is, and the card of this export is {name}"
        )
    return {name: Made(card(subject).encode(), "model card")}


def _is_ours(path: Path) -> bool:
    try:
        return is_untouched(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False


# ---------------------------------------------------------------- files


def _made_now(export: Export) -> Iterator[File]:
    networks = {export.folder.network(form).name for form in get_args(Form)}
    for name, made in export.made.items():
        about = export.source.about if name in networks else _about(name, made.data)[0]
        yield File(name, len(made.data), about, made.said)


def _from_before(folder: Path, made: Collection[str]) -> Iterator[File]:
    """What an export before this one left in the folder."""
    others = _others(ExportFolder(folder))
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name in made or not path.is_file():
            continue
        if path.suffix in ENDINGS:
            about, why = _about(path.name, path.read_bytes())
            yield File(path.name, path.stat().st_size, about, why or BEFORE)
        elif path in others:
            yield File(path.name, path.stat().st_size, None, "of an export before this one")


def _others(folder: ExportFolder) -> list[Path]:
    """Files of an export that are no networks, told from those of the same names that are somebody's own."""
    found = [folder.config] if b'"pretrained_cfg"' in _content(folder.config) else []
    is_cascade = f'"format": "{FORMAT}"'.encode() in _content(folder.cascade)
    return [*found, folder.cascade, folder.runner] if is_cascade else found


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _about(name: str, data: bytes) -> tuple[About | None, str]:
    """What a file says of itself, or None and why that is not known."""
    try:
        return about_in(name, data), ""
    except (ValueError, RunError, ImportError) as error:
        return None, f"nothing is known of it: {error}"


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
    given = asked._asdict() | {"data": asked.on.data, "data_root": asked.on.data_root}
    options = {
        name: value
        for name, value in given.items()
        if name not in ("run", "forms", "on", "network") and value not in (None, False)
        if value != Asked._field_defaults.get(name)
    }
    if asked.network is not None or asked.on.dataset is not None:
        objects = {"network": asked.network, "data": asked.on.dataset}
        words = [repr(str(asked.run)), repr(tuple(asked.forms))]
        words += [f"{name}={name}" for name, value in objects.items() if value is not None]
        words += [f"{name}={_plain(value)!r}" for name, value in options.items()]
        return f"cohobate.export({', '.join(words)})", "python"
    flags = ["cohobate", "export", str(asked.run), "--format", *asked.forms]
    for name, value in options.items():
        flags += [flag(name)] if value is True else [flag(name), str(value)]
    return shlex.join(flags), "sh"


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
