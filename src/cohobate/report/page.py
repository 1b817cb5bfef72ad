"""One self-contained HTML page for a comparison, a run or a sweep: no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..config.words import count
from ..core.metrics import Metric
from ..runs.reading import SPLITS, Run
from .figures.chart import Figure, colours
from .parts import Cell, Table, render, text_table
from .tables import adaptive as adaptive_table
from .tables import each_class, readout_table, sweep_table, table
from .tables.comparison import Comparison, Entry
from .tables.differences import shortly
from .tables.found import found_lines
from .tables.phases import phase_rows, stopped
from .tables.sweep import Sweep
from .tables.teachers import CAPTION as TEACHERS
from .tables.teachers import shared_teachers, teacher_rows
from .tables.text import NOTHING, column, duration, extreme

NO_COLOUR = "none"
"""Of a method without curves."""


def comparison_page(
    comparison: Comparison, runs: Sequence[Run], figures: Sequence[Figure], pictures: Figure | None = None
) -> str:
    """The table, the curves, every seed, and how it was made.

    Args:
        comparison: of the finished ones among the runs.
        runs: unfinished ones too: they show in the curves only.
        figures: of the runs (:func:`in_order`).
        pictures: of segmentation, if there are any.
    """
    c = comparison
    methods = count(len(c.entries) + len(c.never_finished), "method")
    drawn = colours(in_order(comparison, runs))
    return render(
        "comparison",
        f"{c.model} on {c.data}",
        f"{methods}, {count(c.epochs, 'epoch')}, measured against {c.baseline}",
        in_order(comparison, runs),
        caption=table.caption(c),
        results=_results(c, drawn),
        teachers=_rows(teacher_rows(c.teachers, c.metric)),
        teacher_caption=TEACHERS,
        notes=[*_fine_print(c), *_augmentation(runs), *c.notes],
        readouts=_readouts(c, drawn),
        readout_caption=readout_table.readout_caption(c),
        figures=figures,
        pictures=pictures,
        classes=_rows(each_class.comparison_rows(c, runs)),
        class_caption=f"{each_class.CAPTION} Mean ± sample standard deviation over seeds, {c.split} split.",
        metric=c.metric,
        split=c.split,
        seeds=_seeds(c, drawn),
    )


def in_order(comparison: Comparison, runs: Sequence[Run]) -> list[Run]:
    """The runs in the order of the comparison's table, unfinished ones last: so the colours agree."""
    order = [entry.label for entry in comparison.entries]
    return sorted(runs, key=lambda run: order.index(run.name) if run.result else len(order))


def run_page(run: Run, figures: Sequence[Figure], pictures: Figure | None = None) -> str:
    """Metrics, curves, configuration and provenance of one run, finished or not."""
    config = run.config if run.result is None else run.result
    progress = _progress(run)
    return render(
        "run",
        run.name,
        f"{config.get('model', 'unknown model')} on {config.get('data', 'unknown data')}, {progress}",
        [run],
        progress=progress,
        figures=figures,
        pictures=pictures,
        classes=_rows(each_class.run_rows(run)),
        class_caption=each_class.CAPTION,
        notes=list(_augmentation([run])),
        adaptive=None if run.adaptive is None else _rows(adaptive_table.adaptive_rows(run.adaptive)),
        adaptive_caption="" if run.adaptive is None else adaptive_table.title(run.adaptive),
        adaptive_notes=[] if run.adaptive is None else adaptive_table.adaptive_notes(run.adaptive),
        **_measurements(run),
    )


def sweep_page(sweep: Sweep, runs: Sequence[Run], figure: Figure) -> str:
    """The figure, the table, and how it was made."""
    rows = sweep_table.table_rows(sweep)
    values = f"{count(len(sweep.rows), 'value')} of {sweep.option}"
    where = [str(sweep.settings[key]) for key in ("model", "data") if key in sweep.settings]
    return render(
        "sweep",
        f"{sweep.label} over {sweep.option}",
        f"{values}, {' on '.join(where)}" if where else values,
        runs,
        figure=figure,
        caption=sweep_table.caption(sweep),
        results=text_table(rows[0], [row.values() for row in rows]),
        notes=[*_augmentation(runs), *sweep.notes],
    )


# ---------------------------------------------------------------- a comparison


def _results(comparison: Comparison, drawn: Mapping[str, str]) -> Table:
    texts = table.rows_of(comparison)
    entries = {entry.label: entry for entry in comparison.entries}
    return Table(list(texts[0]), [_result_row(row, entries.get(row["method"]), drawn) for row in texts])


def _result_row(row: Mapping[str, str], entry: Entry | None, drawn: Mapping[str, str]) -> list[Cell]:
    cells = {heading: Cell(text) for heading, text in row.items()}
    cells["method"] = _method(row["method"], drawn)
    if entry is not None and entry.gain is not None and entry.gain.is_clear:
        cells["gain"] = cells["gain"]._replace(shade="better" if entry.gain.mean > 0 else "worse")
    return list(cells.values())


def _fine_print(comparison: Comparison) -> list[str]:
    gains = [entry.gain for entry in comparison.entries if entry.gain is not None]
    lines = [
        f"The interval is about the spread over seeds, not about the choice of {comparison.split} images."
    ]
    if any(gain.is_clear for gain in gains):
        lines.append("A gain is shaded where its own 95 % interval excludes 0.")
    if len(gains) > 1:
        lines.append(f"The intervals are not corrected for there being {len(gains)} comparisons.")
    if any(gain.interval is None for gain in gains):
        lines.append("Where no interval is printed, the seeds are too few, or too alike, to give one.")
    return lines


def _augmentation(runs: Sequence[Run]) -> Iterator[str]:
    """What was done to the training images: of all runs that recorded it, where it is the same."""
    recorded = {run.provenance["augmentation"] for run in runs if "augmentation" in run.provenance}
    if len(recorded) == 1:
        yield f"Augmentation of the training images: {recorded.pop()}."


def _readouts(comparison: Comparison, drawn: Mapping[str, str]) -> Table | None:
    rows = readout_table.readout_rows(comparison)
    if not rows:
        return None
    return Table(
        list(rows[0]),
        [
            [_method(text, drawn) if heading == "method" else Cell(text) for heading, text in row.items()]
            for row in rows
        ],
    )


def _rows(rows: Sequence[Mapping[str, str]]) -> Table | None:
    """Rows of heading -> text as a table; None if there are none."""
    return text_table(rows[0], [row.values() for row in rows]) if rows else None


def _seeds(comparison: Comparison, drawn: Mapping[str, str]) -> Table:
    metric = comparison.metric
    seeds = [(entry, seed) for entry in comparison.entries for seed in entry.seeds]
    measures = list(dict.fromkeys(key for _, seed in seeds for key in seed.last))
    unit = f", {metric.unit}" if metric.unit else ""
    best = ["best epoch", f"{metric.title} there{unit}"] if comparison.has_best else []
    head = ["method", "seed", "last epoch", *(column(key, metric) for key in measures), *best, "train time"]
    rows = []
    for entry, seed in seeds:
        last = [_number(seed.last.get(key)) for key in measures]
        there = [] if seed.best is None else [str(seed.best_epoch), _number(seed.best.get(metric.name))]
        texts = [str(seed.seed), str(seed.last_epoch), *last, *there, duration(seed.train_seconds)]
        rows.append([_method(entry.label, drawn), *map(Cell, texts)])
    return Table(head, rows)


def _method(label: str, drawn: Mapping[str, str]) -> Cell:
    """A method with the colour that its curves have."""
    return Cell(label, colour=drawn.get(label, NO_COLOUR))


# ---------------------------------------------------------------- a run


def _measurements(run: Run) -> dict[str, Any]:
    """Sizes and metrics of a finished run; of another, ``metrics`` is None."""
    result = run.result
    if result is None:
        return {"metrics": None}
    sizes = {
        "parameters trained": f"{result['parameters_trained']:,}",
        "parameters deployed": f"{result['parameters_deployed']:,}",
        "MACs": f"{result['macs']:,}",
        "training images": f"{result['train_images']:,}",
        "train time": duration(result["train_seconds"]),
        **{f"{key}, computed": shortly(value) for key, value in result.get("computed", {}).items()},
    }
    if run.config.get("unlabelled_alone"):
        del sizes["training images"]
        sizes["unlabelled training images, alone"] = f"{result['unlabelled_images']:,}"
    best = f"{extreme(run.headline)} {run.headline.title}" if result["best"] else ""
    return {
        "sizes": sizes,
        "metrics": _metrics(result, run.headline),
        "readouts": _rows(readout_table.run_rows(run)),
        "readout_caption": readout_table.COST_CAPTION,
        "found": found_lines(result),
        "predictor": result["predictor"],
        "best": best,
        "stopped": stopped(result),
        "phases": _rows(phase_rows(result)),
        "teachers": _rows(teacher_rows(shared_teachers([run]), run.headline)),
        "teacher_caption": TEACHERS,
    }


def _metrics(result: Mapping[str, Any], headline: Metric) -> Table:
    measured = [
        (f"{split}, {name} epoch ({result[name]['epoch']}), {predictor}", metrics)
        for name in ("last", "best")
        for split in SPLITS
        for predictor, metrics in ((result[name] or {}).get(split) or {}).items()
    ]
    keys = dict.fromkeys(
        key for _, metrics in measured for key, value in metrics.items() if not isinstance(value, list)
    )
    rows = [[where, *(_number(metrics.get(key)) for key in keys)] for where, metrics in measured]
    return text_table(["split, epoch, predictor", *(column(key, headline) for key in keys)], rows)


def _progress(run: Run) -> str:
    if run.failure:
        return f"it diverged: {run.failure}"
    if not run.metrics:
        return "no epoch is over yet"
    if run.result is not None and (early := stopped(run.result)):
        return f"{early}, seed {run.result['seed']}"
    line = run.metrics[-1]
    phase = f" of phase {line['phase']}" if len(run.phases) > 1 else ""
    return f"{count(line['epoch'], 'epoch')}{phase}, seed {run.config.get('seed', 'unknown')}"


def _number(value: float | None) -> str:
    if value is None:
        return NOTHING
    # A number of no more than rounding is not negative.
    return f"{value:,}" if isinstance(value, int) else f"{round(value, 2) + 0.0:.2f}"
