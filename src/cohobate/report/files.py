"""What a report leaves on disk, as name -> text: whoever asked for it writes it."""

from __future__ import annotations

from collections.abc import Sequence

from .page import comparison_page, run_page
from .plots import error_curves
from .runs import SPLITS, Run
from .table import Comparison, to_csv, to_json, to_markdown


def comparison_files(comparison: Comparison, runs: Sequence[Run]) -> dict[str, str]:
    """table.md, table.csv, table.json, the curves of each split that was logged, index.html."""
    logged = [split for split in SPLITS if any(r.curve(split, r.predictor) for r in runs if r.predictor)]
    return {
        "table.md": to_markdown(comparison),
        "table.csv": to_csv(comparison),
        "table.json": to_json(comparison),
        **{f"curves-{split}.svg": error_curves(runs, split) for split in logged},
        "index.html": comparison_page(comparison, runs),
    }


def run_files(run: Run) -> dict[str, str]:
    """report.html."""
    return {"report.html": run_page(run)}
