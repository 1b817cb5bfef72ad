"""What a report leaves on disk, as name -> text; the caller writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..runs.layout import RunFolder
from ..runs.reading import Run
from .figures import sweep as sweep_figure
from .figures.catalogue import comparison_figures, run_figures
from .figures.scenes import comparison_pictures, run_pictures
from .page import comparison_page, in_order, run_page, sweep_page
from .tables import sweep_table
from .tables.comparison import Comparison
from .tables.readout_table import readouts_csv
from .tables.sweep import Sweep
from .tables.table import to_csv, to_json, to_markdown

PAGE = "index.html"
TABLE = "table.json"


def comparison_files(comparison: Comparison, runs: Sequence[Run]) -> dict[str, str]:
    """The table as Markdown, CSV and JSON, the figures, and the page.

    And readouts.csv where a method has several read-outs.
    """
    ordered = in_order(comparison, runs)
    figures, pictures = comparison_figures(ordered), comparison_pictures(ordered)
    return {
        "table.md": to_markdown(comparison),
        "table.csv": to_csv(comparison),
        TABLE: to_json(comparison),
        **({"readouts.csv": readouts_csv(comparison)} if comparison.has_readouts else {}),
        **{f"{figure.file}.svg": figure.svg for figure in figures if figure.file},
        PAGE: comparison_page(comparison, runs, figures, pictures),
    }


def run_files(run: Run) -> dict[str, str]:
    """The page of a run."""
    return {RunFolder(run.folder).report.name: run_page(run, run_figures(run), run_pictures(run))}


def sweep_files(sweep: Sweep, runs: Sequence[Run]) -> dict[str, str]:
    """The figure, the table as JSON, CSV and Markdown, and the page."""
    figure = sweep_figure.figure(sweep)
    return {
        f"{figure.file}.svg": figure.svg,
        "sweep.json": sweep_table.to_json(sweep),
        "sweep.csv": sweep_table.to_csv(sweep),
        "sweep.md": sweep_table.to_markdown(sweep),
        PAGE: sweep_page(sweep, runs, figure),
    }


def labels_of(folder: Path) -> list[str]:
    """The methods of the comparison in a folder, in its order; none if there is none.

    Raises:
        ValueError: the file of the table has another form.
    """
    file = folder / TABLE
    if not file.is_file():
        return []
    try:
        table = json.loads(file.read_text())
        return [entry["label"] for entry in table["entries"]] + list(table.get("diverged", {}))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not the table of a comparison ({error}); move it, or name runs"
        ) from error
