"""What the reports leave on disk, each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .page import comparison_page, run_page
from .runs import Run
from .table import Comparison, to_csv, to_json, to_markdown


def write_text(path: Path, text: str) -> None:
    """Replaces a file at once: whoever reads it sees the old text or the new, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_comparison(comparison: Comparison, runs: Sequence[Run], folder: Path) -> list[Path]:
    """table.md, table.csv, table.json and index.html in a folder, which is made if need be."""
    texts = {
        "table.md": to_markdown(comparison),
        "table.csv": to_csv(comparison),
        "table.json": to_json(comparison),
        "index.html": comparison_page(comparison, runs),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def write_run(run: Run, folder: Path | None = None) -> Path:
    """report.html in the run's own folder, or in another, which is made if need be."""
    folder = run.folder if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_text(path, run_page(run))
    return path
