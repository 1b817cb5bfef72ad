"""What a report leaves on disk, as name -> text: whoever asked for it writes it."""

from __future__ import annotations

from collections.abc import Sequence

from ..runs.reading import SPLITS, Run
from .figures.peers import agreement_curves, splits_of_peers
from .figures.plots import error_curves
from .page import comparison_page, run_page
from .tables.table import Comparison, readouts_csv, to_csv, to_json, to_markdown


def comparison_files(comparison: Comparison, runs: Sequence[Run]) -> dict[str, str]:
    """table.md, table.csv, table.json, the curves of each split that was logged, index.html.

    And readouts.csv where a method has several read-outs, agreement-<split>.svg where one has peers.
    """
    logged = [split for split in SPLITS if any(r.curve(split, r.predictor) for r in runs if r.predictor)]
    return {
        "table.md": to_markdown(comparison),
        "table.csv": to_csv(comparison),
        "table.json": to_json(comparison),
        **({"readouts.csv": readouts_csv(comparison)} if comparison.has_readouts else {}),
        **{f"curves-{split}.svg": error_curves(runs, split) for split in logged},
        **{f"agreement-{split}.svg": agreement_curves(runs, split) for split in splits_of_peers(runs)},
        "index.html": comparison_page(comparison, runs),
    }


def run_files(run: Run) -> dict[str, str]:
    """report.html."""
    return {"report.html": run_page(run)}
