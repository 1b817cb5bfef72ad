"""Which libraries are installed, whether they can be imported, and which are too old."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from importlib.util import find_spec

from ..config.extras import EXTRAS, install_command
from ..config.words import count

PROBE = """
import importlib, json, sys
path, names, mark = json.loads(sys.stdin.read())
sys.path[:] = path
for name in names:
    said = ""
    try:
        importlib.import_module(name)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    print(mark + json.dumps([name, said]), flush=True)
"""
"""Imports modules one by one, in a process of its own: a broken one may end the process that imports it."""

MARK = "imported:"
SECONDS = 60.0
"""That the imports of all libraries may take."""

LONGEST = 200
"""Characters of an error that are shown."""

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^]]*\])?>=(?P<least>[\d.]+)$")


def dependencies() -> dict[str, str]:
    """Each library that cohobate needs -> its version, and what is wrong with it.

    Raises:
        PackageNotFoundError: cohobate itself is not installed, so that nothing says what it needs.
    """
    # What an extra needs has a condition behind a semicolon, which REQUIREMENT does not take.
    needed = requires("cohobate") or []
    return {match["name"]: _version(match["name"], needed) for match in map(_parsed, needed) if match}


def extras(seconds: float = SECONDS) -> dict[str, str]:
    """Each extra -> the versions of its libraries, or what it would add and how to install it."""
    modules = [module for extra in EXTRAS.values() for module in extra.modules]
    there = [module for module in modules if _found(module)]
    broken = import_errors(there, seconds)
    return {name: _extra(name, there, broken) for name in EXTRAS}


def import_errors(modules: Sequence[str], seconds: float = SECONDS) -> dict[str, str]:
    """Modules that cannot be imported -> why, in a line. None is imported in this process."""
    errors: dict[str, str] = {}
    left = list(modules)
    while left:
        reported, end = _imported(left, seconds)
        errors.update({name: _one_line(said) for name, said in reported.items() if said})
        left = [name for name in left if name not in reported]
        if left:
            errors[left[0]] = end
            left = left[1:]
    return errors


# ---------------------------------------------------------------- extras


def _extra(name: str, there: Sequence[str], broken: dict[str, str]) -> str:
    extra = EXTRAS[name]
    parts, absent = [], [module for module in extra.modules if module not in there]
    for module in extra.modules:
        if module in broken:
            parts.append(f"{_of_module(module)} cannot be imported ({broken[module]})")
        elif module in there:
            parts.append(_of_module(module))
    said = ", ".join(parts)
    if absent:
        about = "not installed" if len(absent) == len(extra.modules) else f"without {', '.join(absent)}"
        said = f"{said}; {about}" if said else about
        # On a line of its own, so that it can be copied.
        return f"{said}; would add {extra.adds}\n{install_command(name)}"
    if any(module in broken for module in extra.modules):
        return f"{said}{f'; {extra.broken}' if extra.broken else ''}"
    return f"{said}: {extra.adds}"


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        # It is there in some form; the import will say what is wrong.
        return True


def _of_module(module: str) -> str:
    """timm 1.0.31; the names of a module and of its distribution may differ."""
    needed = [text.partition(";")[0].strip() for text in _required()]
    for distribution in _distributions().get(module, ()):
        return f"{distribution} {_version(distribution, needed)}"
    return f"{module} of unknown version"


@cache
def _distributions() -> dict[str, list[str]]:
    return {module: sorted(set(names)) for module, names in packages_distributions().items()}


def _required() -> list[str]:
    try:
        return requires("cohobate") or []
    except PackageNotFoundError:
        return []


# ---------------------------------------------------------------- versions


def _parsed(requirement: str) -> re.Match[str] | None:
    return REQUIREMENT.match(requirement.replace(" ", ""))


def _version(distribution: str, needed: Sequence[str]) -> str:
    """The version; with a word where it is older than what is needed."""
    try:
        installed = version(distribution)
    except PackageNotFoundError:
        return "is not installed: pip install --upgrade cohobate"
    lowest = [
        match["least"] for match in map(_parsed, needed) if match and _same(match["name"], distribution)
    ]
    old = [least for least in lowest if _numbers(installed) < _numbers(least)]
    return f"{installed}, older than the {old[0]} that is needed" if old else installed


def _same(one: str, other: str) -> bool:
    first, second = (re.sub(r"[-_.]+", "-", name).lower() for name in (one, other))
    return first == second


def _numbers(text: str) -> tuple[int, ...]:
    """2.13.0+cpu -> (2, 13, 0); letters end a number: 1.0rc1 -> (1, 0)."""
    parts = (re.match(r"\d+", part) for part in text.partition("+")[0].split("."))
    numbers = [int(part[0]) for part in parts if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# ---------------------------------------------------------------- imports


def _imported(modules: Sequence[str], seconds: float) -> tuple[dict[str, str], str]:
    """Module -> its error or nothing, as far as the process came; and how the process ended."""
    command = [sys.executable, "-W", "ignore", "-c", PROBE]
    asked = json.dumps([sys.path, list(modules), MARK])
    try:
        done = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=seconds)
        printed, end = done.stdout, _ended(done.returncode)
    except subprocess.TimeoutExpired as error:
        printed, end = error.stdout or b"", f"its import takes longer than {count(seconds, 'second')}"
    lines = (line.partition(MARK)[2] for line in printed.decode(errors="replace").splitlines())
    return dict(json.loads(line) for line in lines if line), end


def _ended(status: int) -> str:
    if status < 0 and -status in {number.value for number in signal.Signals}:
        return f"its import ends Python by {signal.Signals(-status).name}"
    return f"its import ends Python with status {status}"


def _one_line(error: str) -> str:
    line = next((line.strip() for line in error.splitlines() if line.strip()), "")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
