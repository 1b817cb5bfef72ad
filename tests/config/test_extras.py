"""The list of optional libraries is that of the package, and errors name the extra."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cohobate.config.extras import EXTRAS, install_command, missing

ROOT = Path(__file__).parents[2]
FOR_DEVELOPERS = {"test", "libraries-test"}
OF_ANOTHER_NAME = {"mlflow-skinny": "mlflow"}
"""Distribution -> its module, where they differ."""


def test_the_extras_are_those_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = {}
    for extra in package.keys() - FOR_DEVELOPERS:
        names = [re.split(r"[<>=!~ \[]", requirement)[0] for requirement in package[extra]]
        declared[extra] = tuple(OF_ANOTHER_NAME.get(name, name) for name in names)
    assert len(declared) == 7
    assert declared == {name: extra.modules for name, extra in EXTRAS.items()}


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_message_names_the_modules_and_the_extra(extra: str) -> None:
    said = missing(extra, "--this")
    assert said.startswith("--this needs ")
    assert all(module in said.partition(";")[0] for module in EXTRAS[extra].modules)
    assert said.endswith(f": {install_command(extra)}")
    assert install_command(extra) == f"pip install 'cohobate[{extra}]'"


def test_one_library_and_several() -> None:
    assert missing("timm", "timm:NAME") == "timm:NAME needs timm; install it: pip install 'cohobate[timm]'"
    assert missing("export", "--format onnx") == (
        "--format onnx needs onnx, onnxruntime and onnxscript; install them: pip install 'cohobate[export]'"
    )
