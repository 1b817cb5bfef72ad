"""The command line accepts the commands of the documentation."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from documented import commands, options_of

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PARSED_ALIKE = {
    *("train", "compare", "sweep", "evaluate", "attention", "residuals", "predict", "export", "bench"),
}
CASES = [
    (page.name, words)
    for page in PAGES
    for words in commands(page, inline=page.name == "RESIDUALS.md")
    if words[0] in PARSED_ALIKE and not any(".py:" in word for word in words)
]


def test_commands_are_found() -> None:
    assert len(CASES) > 50


@pytest.mark.parametrize(("page", "words"), CASES, ids=[f"{p}: {shlex.join(w)}"[:90] for p, w in CASES])
def test_the_command_line_accepts(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options_of(words, monkeypatch)


@pytest.mark.parametrize(
    "line",
    [
        "train kd --no-such-option 1",
        "train kd --setup no/such",
        "compare baseline kd:no_such=1 --teacher resnet8",
        "evaluate runs/mine --no-such-option",
    ],
)
def test_what_is_no_command_is_refused(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        options_of(line.split(), monkeypatch)
