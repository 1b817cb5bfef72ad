"""Sentences on a run that its measurements do not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...config.words import count
from ...core.metrics import Metric
from ...runs.layout import RunFolder
from ...runs.reading import Run, read_run
from .found import found_lines
from .phases import phase_rows, stopped
from .teachers import SharedTeacher, teacher_lines
from .text import sentence, valued


def run_lines(facts: Mapping[str, Any], headline: Metric) -> list[str]:
    """Phases, where they stopped, findings, teachers of a finished run.

    Args:
        facts: its result.
        headline: the metric that teachers are measured by.
    """
    lines = [sentence(f"{text}.") for text in [stopped(facts)] if text]
    for row in phase_rows(facts):
        lines.append(
            f"Phase {row['phase']}, epochs {row['epochs']}: {row['parameters trained']} parameters trained, "
            f"{row['train time']}."
        )
    lines += found_lines(facts)
    teachers = [SharedTeacher.of(teacher) for teacher in facts.get("teachers", [])]
    return lines + teacher_lines(teachers, headline)


def given_teachers(run: Run) -> Iterator[str]:
    """A sentence for each teacher that was given, not trained for the run, and how good it is, if known."""
    trained = {teacher["model"] for teacher in run.outcome.get("teachers", [])}
    for spec in run.config.get("teacher") or ():
        if spec not in trained:
            yield f"Teacher, given as {spec}: {_now(Path(spec).expanduser())}."


def _now(path: Path) -> str:
    """What the folder of a teacher's run, or of its file of weights, says of it now."""
    folder = path if path.is_dir() else path.parent
    if not RunFolder(folder).finished:
        return "what it measured is not recorded with this run"
    try:
        teacher = read_run(folder)
        split = "test" if teacher.outcome["last"].get("test") else "val"
        measured = teacher.measured(teacher.outcome["last"], split)
    except ValueError:
        return "what it measured is not recorded with this run"
    metric = teacher.headline
    return (
        f"a run of {teacher.outcome['model']}, {split} {valued(metric, measured[metric.name])} "
        f"after {count(teacher.outcome['epochs'], 'epoch')}, as its folder says when this is written"
    )
