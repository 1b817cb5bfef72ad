"""docs/DATA.md lists every data set that has a name; run as a script, this file writes its table."""

from __future__ import annotations

from pathlib import Path

from cohobate.data.sets import SETS

PAGE = Path(__file__).parents[2] / "docs" / "DATA.md"
BEGIN, END = "<!-- sets: begin -->\n", "<!-- sets: end -->\n"


def table() -> str:
    rows = ["| `--data` | what it is | images | is read from | licence |", "|---|---|---|---|---|"]
    for name, entry in SETS.items():
        what = f"[{entry.title}]({entry.address}), {entry.classes:,} classes"
        rows.append(f"| `{name}` | {what} | {entry.images} | {_code(entry.layouts)} | {entry.licence} |")
    return "\n".join(rows) + "\n"


def _code(layouts: str) -> str:
    """What Markdown would take for HTML is escaped."""
    return layouts.replace("<", "&lt;").replace("|", "\\|")


def parts() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def test_the_page_has_a_row_for_every_set() -> None:
    assert parts()[1] == table(), "python tests/data/test_sets_page.py writes the table"


if __name__ == "__main__":
    before, _, after = parts()
    PAGE.write_text(before + BEGIN + table() + END + after)
