"""Commands that fail, as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohobate.cli import main


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that ends with an error writes to stderr."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The same of a command that leaves nothing behind in the present folder."""
    before = sorted(Path().rglob("*"))
    said = fails(capsys, *arguments)
    assert sorted(Path().rglob("*")) == before
    return said
