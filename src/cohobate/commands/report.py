"""``cohobate report``: the page of a run, or the table and page of several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import tyro

from .console import show


def main(arguments: list[str]) -> None:
    """Write the page of RUN, or of several runs beside one another."""

    def report(
        runs: tyro.conf.Positional[tuple[Path, ...]],
        out: Path | None = None,
        baseline: str | None = None,
        readout: str | None = None,
    ) -> None:
        """Write the page of a run, or the table and page of several.

        Args:
            runs: Folders of runs, or folders that hold such folders.
            out: Folder to write into; by default that of the run, or report in the one that holds all runs.
            baseline: Label of the method that gains are measured against; by default baseline, or the first.
            readout: Read-out to report of every method that has it, of the others the deployed network's;
                by default the one that each run's --readout named.
        """
        from ..report.files import comparison_files, run_files
        from ..report.tables.comparison import compare
        from ..report.tables.readouts import reporting
        from ..report.tables.table import to_rich
        from ..runs.finding import find_runs
        from ..runs.folder import write_files
        from ..runs.reading import read_run

        if not runs:
            raise ValueError("name at least one run folder")
        loaded = [read_run(run) for folder in runs for run in in_order(folder, find_runs(folder))]
        if len(loaded) == 1:
            if baseline is not None:
                raise ValueError("--baseline has no effect with one run; leave it out")
            (page,) = write_files(out or loaded[0].folder, run_files(loaded[0]))
            print(page)
            return
        loaded = loaded if readout is None else reporting(loaded, readout)
        finished = [run for run in loaded if run.result is not None]
        if not finished:
            raise ValueError(f"none of the {len(loaded)} runs has finished; name one to see its curves")
        labels = [str((run.result or {})["label"]) for run in finished]
        first = baseline or ("baseline" if "baseline" in labels else labels[0])
        comparison = compare(loaded, first)
        target = out or Path(os.path.commonpath([run.folder.absolute() for run in loaded])) / "report"
        written = write_files(target, comparison_files(comparison, loaded))
        show(to_rich(comparison))
        print("\n".join(str(path) for path in written))

    tyro.cli(report, args=arguments, prog="cohobate report")


def in_order(folder: Path, runs: Sequence[Path]) -> list[Path]:
    """The runs below a folder in the order of the comparison there, else in that in which they were begun."""
    from ..report.files import labels_of
    from ..runs.names import label_name
    from ..runs.reading import read_run

    folders = [label_name(label) for label in labels_of(folder)]

    def place(run: Path) -> tuple[int, str, Path]:
        number = folders.index(run.parent.name) if run.parent.name in folders else len(folders)
        return number, str(read_run(run).provenance.get("started", "")), run

    return sorted(runs, key=place)
