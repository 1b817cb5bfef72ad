"""What every page is made of: tables, where the runs come from, and the template that is filled in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..runs.reading import Run
from .tables.text import NOTHING

if TYPE_CHECKING:
    from jinja2 import Environment


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what it says.
        colour: of the curves of the method that the cell names; empty in other cells.
        shade: "better" or "worse" where the background says so.
    """

    text: str
    colour: str = ""
    shade: str = ""


class Table(NamedTuple):
    """Headings, and rows of as many cells; the first one names its row."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Settings(NamedTuple):
    """Options or facts: what all runs share apart from what differs, which is a row for each run."""

    title: str
    shared: Mapping[str, str]
    apart: Table | None


class Origin(NamedTuple):
    """How the runs were made: each command once, then configuration and provenance."""

    commands: Sequence[str]
    settings: Sequence[Settings]


def text_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table in which nothing is coloured."""
    return Table(list(head), [[Cell(text) for text in row] for row in rows])


def origin(runs: Sequence[Run]) -> Origin:
    """Commands, configuration and provenance of the runs."""
    commands = dict.fromkeys(str(run.provenance["command"]) for run in runs if run.provenance.get("command"))
    names = ["/".join(run.folder.parts[-2:]) for run in runs]
    provenance = [{k: v for k, v in run.provenance.items() if k != "command"} for run in runs]
    configs = [run.config for run in runs]
    return Origin(
        list(commands),
        [_settings("Configuration", names, configs), _settings("Provenance", names, provenance)],
    )


def _settings(title: str, names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> Settings:
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    values = {key: [_value(setting, key) for setting in settings] for key in keys}
    shared = {key: texts[0] for key, texts in values.items() if len(set(texts)) == 1}
    apart = [key for key in keys if key not in shared]
    rows = [[name, *(values[key][i] for key in apart)] for i, name in enumerate(names)]
    return Settings(title, shared, text_table(["run", *apart], rows) if apart else None)


def _value(setting: Mapping[str, Any], key: str) -> str:
    if key not in setting:
        return NOTHING
    value = setting[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def render(template: str, title: str, lead: str, runs: Sequence[Run], **parts: Any) -> str:
    """A page that needs nothing but itself: every text is escaped, and nothing is fetched.

    Args:
        template: its name, without the ending.
        title: heading of the page.
        lead: one line below the title.
        runs: that the page is about.
        parts: what the template shows.
    """
    page = _environment().get_template(f"{template}.html.j2")
    return page.render(title=title, lead=lead, origin=origin(runs), **parts)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("cohobate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
