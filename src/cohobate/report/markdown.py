"""Markdown in which no text from outside is read as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from .tables.text import escaped, markdown_table

if TYPE_CHECKING:
    from jinja2 import Environment

LEADING = re.compile(r"[#+\-=:\[]|\d+(?=[.)])")
"""What makes a heading, a list, a rule or the target of a link of a line that begins with it."""


class Markdown(str):
    """Text that is Markdown already: a template shows it as it is, and escapes all others."""

    __slots__ = ()


def item(text: str) -> Markdown:
    """A text that shows as it is where it is all of an item of a list."""
    safe = escaped(text)
    found = LEADING.match(safe)
    if found is None:
        return Markdown(safe or "(empty)")
    # A backslash before a digit shows; before the point behind it, it does not.
    at = found.end() if found[0].isdigit() else 0
    return Markdown(f"{safe[:at]}\\{safe[at:]}")


def code(text: object) -> Markdown:
    """Within a line, in the letters of code."""
    shown = " ".join(str(text).split())
    fence = "`" * (_longest_row(shown) + 1)
    blank = " " if shown.startswith("`") or shown.endswith("`") else ""
    return Markdown(f"{fence}{blank}{shown}{blank}{fence}")


def block(text: str, language: str = "") -> Markdown:
    """Lines of code, whatever stands in them."""
    fence = "`" * max(3, _longest_row(text) + 1)
    return Markdown(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def table(rows: Sequence[Mapping[str, str]], left: Sequence[str]) -> Markdown:
    """Of rows with the same headings (:func:`cohobate.report.tables.text.markdown_table`)."""
    return Markdown("\n".join(markdown_table(rows, left)))


def front_matter(values: Mapping[str, Any]) -> Markdown:
    """What hubs of models read, in YAML, at the beginning of a file."""
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return Markdown(f"---\n{text}---")


def render(template: str, **parts: Any) -> str:
    """A template filled in: of its parts only those of :class:`Markdown` are taken as Markdown."""
    return _environment().get_template(template).render(**parts)


def _longest_row(text: str) -> int:
    """Of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


def _shown(value: object) -> object:
    return value if isinstance(value, Markdown) else escaped(str(value))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cohobate.report"),
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": code, "block": block, "table": table}
    return environment
