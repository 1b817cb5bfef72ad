"""These tests need timm and torchvision.

Without them the folder is skipped; where COHOBATE_LIBRARIES=1, that is an error.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def missing() -> str | None:
    """Why a library cannot be imported."""
    for library in ("timm", "torchvision"):
        try:
            importlib.import_module(library)
        # A torchvision that was built for another torch raises RuntimeError.
        except (ImportError, OSError, RuntimeError) as error:
            if os.environ.get("COHOBATE_LIBRARIES") == "1":
                raise
            return f"{library} cannot be imported: {error}"
    return None


MISSING = missing()


class Skipped(pytest.Module):
    """A file that is not even imported."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip(str(MISSING))


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if MISSING is None:
        return None
    return Skipped.from_parent(parent, path=module_path)  # type: ignore[no-any-return]
