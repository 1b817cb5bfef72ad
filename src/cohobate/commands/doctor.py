"""``cohobate doctor``: what this machine and this installation have, for a reader or a bug report."""

from __future__ import annotations

import getpass
import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..config.groups import Bookkeeping, Group
from .parsing import parsed_alone

ABOUT = """\
Report versions, devices, processor, optional libraries, data sets and disks, and what is slow here.

It is text to be copied into a bug report, without the user's name: cohobate doctor > report.txt. What
cannot be found out is reported as such, and ends nothing.
"""

WIDTH = 100


class Command(Group):
    """Where data sets are looked for, and the form of the report."""

    data_root: Path = Field(
        Bookkeeping.model_fields["data_root"].default,
        description="Folder in which data sets are looked for, as in `cohobate train`.",
    )
    format: Literal["text", "json"] = Field("text", description="Form of the report.")


def main(arguments: list[str]) -> None:
    """Report what this machine and this installation have, and what is slow here."""
    command = parsed_alone("cohobate doctor", arguments, Command, ABOUT)
    from .doctor_facts import sections

    private = Private()
    report = {}
    for title, find in sections(command.data_root).items():
        report[title] = {key: private.hidden(text) for key, text in examined(find).items()}
        if command.format == "text":
            # At once: some take seconds.
            put(written(title, report[title]))
    if command.format == "json":
        put(json.dumps(report, indent=2))


def examined(find: Callable[[], Mapping[str, str]]) -> Mapping[str, str]:
    """The rows of a section; an error, of whatever is broken here, becomes its only row."""
    try:
        return find()
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        return {"could not be examined": f"{type(error).__name__}: {first}"}


def written(title: str, rows: Mapping[str, str]) -> str:
    """A section as plain text, in lines of at most 100 characters where the words allow it."""
    wrap = textwrap.TextWrapper(
        WIDTH, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
    )
    lines = [title]
    for key, text in rows.items():
        for number, line in enumerate(f"{key}: {text}".splitlines()):
            wrap.initial_indent = "      " if number else "  "
            lines += wrap.wrap(line)
    return "\n".join([*lines, ""])


def put(text: str) -> None:
    """Print, what the output cannot encode as an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


class Private:
    """Hides the home folder, and the user's name where it is a part of a path."""

    def __init__(self) -> None:
        self.homes: list[str] = []
        self.user = ""
        try:
            home = Path.home()
            self.homes = [str(path) for path in dict.fromkeys((home, home.resolve())) if len(path.parts) > 1]
            self.user = getpass.getuser()
        except (OSError, RuntimeError, KeyError):
            # A user without an entry in the list of users has no name.
            pass

    def hidden(self, text: str) -> str:
        """The text with ~ and USER."""
        for home in self.homes:
            text = re.sub(rf"(?<![\w.]){re.escape(home)}(?![\w.-])", "~", text)
        if self.user and self.user != "root":
            text = re.sub(rf"(?<=[/\\]){re.escape(self.user)}(?![\w.-])", "USER", text)
        return text
