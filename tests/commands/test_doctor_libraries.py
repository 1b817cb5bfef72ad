"""Libraries that are there, absent, too old, and broken in every way, made up."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cohobate.commands import doctor_libraries
from cohobate.commands.doctor_libraries import dependencies, extras, import_errors
from cohobate.config.extras import Extra

WAYS: dict[str, tuple[str, str]] = {
    "whole": ("print('a library that talks')", ""),
    "talks_without_end": ("import sys; sys.stdout.write('no new line')", ""),
    "mismatched": (
        "raise RuntimeError('operator torchvision::nms does not exist\\nand a second line')",
        "RuntimeError: operator torchvision::nms does not exist",
    ),
    "needs_more": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "wrong_syntax": ("def", "SyntaxError"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "ends_python": ("import os; os._exit(7)", "ends Python with status 7"),
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "ends Python by SIGSEGV",
    ),
    "without_words": ("raise OSError", "OSError:"),
    "too_long": ("raise OSError('x' * 1000)", "xxx..."),
}
"""Module -> its source, and what is said of it."""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    doctor_libraries._distributions.cache_clear()
    for name, (source, _) in WAYS.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def distribution(folder: Path, module: str, version: str) -> None:
    """Metadata as of a package that is called as its module, with a dash."""
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    name = module.replace("_", "-")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text(f"{module}\n")


def test_every_way_to_be_broken_is_one_line_and_harms_no_other(
    library: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    errors = import_errors(list(WAYS))
    assert list(errors) == [name for name, (_, said) in WAYS.items() if said]
    for name, error in errors.items():
        assert WAYS[name][1] in error
        assert "\n" not in error
        assert len(error) <= 203
    assert not set(WAYS) & set(sys.modules), "none is imported in this process"
    assert capfd.readouterr() == ("", "")


def test_an_import_without_end_is_left(library: Path) -> None:
    (library / "hangs.py").write_text("import time; time.sleep(60)")
    errors = import_errors(["whole", "hangs", "mismatched"], seconds=1)
    assert list(errors) == ["hangs", "mismatched"]
    assert errors["hangs"] == "its import takes longer than 1 second"


def test_what_is_said_of_an_extra(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(library, "whole", "1.2.3")
    made_up = {
        "there": Extra(("whole",), "something"),
        "absent": Extra(("no_such_module",), "much"),
        "half": Extra(("whole", "no_such_module"), "much"),
        "broken": Extra(("whole", "mismatched"), "nothing", "install it again"),
    }
    monkeypatch.setattr(doctor_libraries, "EXTRAS", made_up)
    assert extras() == {
        "there": "whole 1.2.3: something",
        "absent": "not installed; would add much\npip install 'cohobate[absent]'",
        "half": "whole 1.2.3; without no_such_module; would add much\npip install 'cohobate[half]'",
        "broken": "whole 1.2.3, mismatched of unknown version cannot be imported (RuntimeError: operator "
        "torchvision::nms does not exist); install it again",
    }


def test_a_module_that_is_blocked_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_libraries, "EXTRAS", {"blocked": Extra(("blocked_module",), "much")})
    monkeypatch.setitem(sys.modules, "blocked_module", None)  # type: ignore[arg-type]
    assert extras()["blocked"].startswith("not installed")


@pytest.mark.parametrize(
    ("version", "least", "old"),
    [
        ("2.13.0+cpu", "2.11", False),
        ("2.9.1", "2.11", True),
        ("2.11", "2.11.0", False),
        ("1.0rc1", "1", False),
        ("0.9", "1", True),
        ("10.0", "9.5", False),
    ],
)
def test_a_version_that_is_too_old(
    library: Path, monkeypatch: pytest.MonkeyPatch, version: str, least: str, old: bool
) -> None:
    distribution(library, "made_up", version)
    needed = [f"Made.Up>={least}", 'timm>=1.0; extra == "timm"', "not-there>=3"]
    monkeypatch.setattr(doctor_libraries, "requires", lambda name: needed)
    said = dependencies()
    assert list(said) == ["Made.Up", "not-there"], "an extra is no dependency"
    assert said["Made.Up"] == (f"{version}, older than the {least} that is needed" if old else version)
    assert said["not-there"].startswith("is not installed: pip install")


def test_the_libraries_of_this_installation() -> None:
    found = dependencies()
    assert {"torch", "numpy", "pydantic", "tyro", "rich", "safetensors"} <= set(found)
    assert all(re.match(r"\d+\.\d", version) for version in found.values()), found
    assert not any("older" in version for version in found.values())
