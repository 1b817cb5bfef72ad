"""A run's folder: what it is called, whose it is, how it was made."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from ..config.training import NOT_IDENTITY, Training
from ..engine import distributed
from ..engine.checkpoint import write_bytes, write_json
from ..engine.errors import RunError
from ..recipes.catalogue import label


def default_folder(method: str, config: Training, root: Path = Path("runs")) -> Path:
    """``runs/<data>-<model>/<method and its changed options>/seed-<n>``."""
    data = Path(config.data).name
    return root / plain(f"{data}-{config.model}") / plain(label(method, config)) / f"seed-{config.seed}"


def plain(text: str) -> str:
    """A file name of the text."""
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", text).strip("-.")


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a ``run.yaml``.

    Raises:
        ValueError: no such file, or not a YAML mapping.
    """
    if not path.is_file():
        raise ValueError(f"no configuration {path}")
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not a mapping of options")
    return config


def recorded(method: str, config: Training) -> dict[str, Any]:
    """What ``run.yaml`` holds."""
    return {"method": method, **config.model_dump(mode="json")}


def write_files(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Each file whole or not at all; the folder is made if need be."""
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in texts]


def claim(folder: Path, method: str, config: Training, fingerprint: str, notes: tuple[str, ...]) -> None:
    """Make the folder this run's own, or find that it is.

    Raises:
        RunError: it belongs to another configuration, to other data, or (unless ``resume`` is
            ``anyway``) to another torch, number of threads or number of processes.
    """
    config_file, provenance_file = folder / "run.yaml", folder / "provenance.json"
    wanted, environment = recorded(method, config), _environment()
    # Every process looks before the first one writes.
    found = config_file.exists(), provenance_file.exists()
    distributed.barrier()
    if found[0]:
        # An option that a run of before did not know was at what is now its default.
        known = type(config).model_construct().model_dump(mode="json", warnings=False)
        before = _identity({**known, **read_config(config_file)})
        _compare(folder, before, _identity(wanted), "another configuration")
    if found[1]:
        provenance = json.loads(provenance_file.read_text())
        _compare(
            folder,
            {"data_fingerprint": provenance["data_fingerprint"]},
            {"data_fingerprint": fingerprint},
            "other data",
        )
        if config.resume == "exact" and not (folder / "result.json").exists():
            same = {key: provenance["environment"].get(key) for key in environment}
            hint = "; --resume anyway goes on, but not bit for bit"
            _compare(folder, same, environment, "another environment", hint)
    elif distributed.rank() == 0:
        write_bytes(config_file, yaml.safe_dump(wanted, sort_keys=False).encode())
        write_json(provenance_file, _provenance(fingerprint, notes, environment))


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in NOT_IDENTITY}


def _compare(folder: Path, before: dict[str, Any], now: dict[str, Any], what: str, hint: str = "") -> None:
    keys = [k for k in [*before, *(k for k in now if k not in before)] if before.get(k) != now.get(k)]
    if keys:
        listed = "\n".join(f"  {k}: {before.get(k)!r} there, {now.get(k)!r} asked for" for k in keys)
        raise RunError(f"{folder} belongs to {what}:\n{listed}\ngive another --out, or remove it{hint}")


def _environment() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": distributed.world(),
    }


def _provenance(fingerprint: str, notes: tuple[str, ...], environment: dict[str, Any]) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "cohobate": version("cohobate"),
        "commit": _commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "data_fingerprint": fingerprint,
        "data_notes": list(notes),
        "environment": environment,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str | None:
    """The commit of the source tree that runs; None if it is installed, even below somebody's repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return None
