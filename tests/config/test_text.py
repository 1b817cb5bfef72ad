"""Text that others wrote, for terminals and messages."""

from __future__ import annotations

import pytest

from cohobate.config.one_of import check_word
from cohobate.config.text import as_text, first_line, shown
from cohobate.data.pictures import Fit


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a b/ü 写真.png", "a b/ü 写真.png"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\r\tc\x7f\u2028", r"a\nb\r\tc\x7f\u2028"),
        ("a\u202egnp.b", r"a\u202egnp.b"),
    ],
)
def test_what_steers_a_terminal_is_escaped(name: str, written: str) -> None:
    assert shown(name) == written
    # A file has the name itself.
    assert as_text(name) == name.replace("\udce9", r"\xe9")


@pytest.mark.parametrize(
    ("message", "line"), [("one\ntwo", "one"), ("\n \n one ", "one"), ("", "KeyError"), (" \n", "KeyError")]
)
def test_the_first_line_of_a_message(message: str, line: str) -> None:
    class KeyError(Exception):
        pass

    assert first_line(KeyError(message)) == line


def test_a_word_that_is_none_of_the_choices() -> None:
    check_word("fit", "pad", Fit)
    with pytest.raises(ValueError, match=r"^unknown fit 'squish'; there are crop, pad, squash, .* squash$"):
        check_word("fit", "squish", Fit)
