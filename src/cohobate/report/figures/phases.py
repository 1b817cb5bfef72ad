"""Where the phases of a run begin."""

from __future__ import annotations

from ...runs.reading import Run


def phase_starts(run: Run) -> dict[float, str]:
    """Half an epoch before a phase's first -> its name; empty where there is only one phase."""
    names = [str(line["phase"]) for line in run.metrics]
    pairs = zip([None, *names], names, strict=False)
    starts = {i + 0.5: name for i, (before, name) in enumerate(pairs) if name != before}
    return starts if len(starts) > 1 else {}
